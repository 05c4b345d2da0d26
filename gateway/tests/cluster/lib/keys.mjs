// A certificate authority, the certificate that it gave a server on 127.0.0.1, and another authority.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

export class Keys {
  #folder = mkdtempSync(join(tmpdir(), "gateway-keys-"));
  authority = join(this.#folder, "ca.crt");
  other = join(this.#folder, "other.crt");
  certificate = join(this.#folder, "server.crt");
  key = join(this.#folder, "server.key");

  constructor() {
    writeFileSync(join(this.#folder, "san"), "subjectAltName=IP:127.0.0.1");
    for (const name of ["ca", "other"]) this.#openssl(`req -x509 ${KEY} -days 2 -subj /CN=${name} -keyout ${name}.key -out ${name}.crt`);
    this.#openssl(`req ${KEY} -subj /CN=server -keyout server.key -out server.csr`);
    this.#openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt");
  }

  #openssl(args) {
    execFileSync("openssl", args.split(" "), { cwd: this.#folder, stdio: "pipe" });
  }

  remove() {
    rmSync(this.#folder, { recursive: true });
  }
}
