// Installs what tests need, once, and says what it cannot install.
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What package-lock.json in `folder` names, from npm. */
export function npmPackages(folder, what) {
  once(join(folder, "node_modules/.installed"), join(folder, "package-lock.json"), `${what} from npm`, () => execFileSync("npm", ["ci", "--no-audit", "--no-fund"], { cwd: folder, stdio: "inherit" }));
}

/** A package from Debian. */
export function debianPackage(name, what) {
  const install = ["apt-get", "install", "-y", "--no-install-recommends", name];
  const command = process.getuid() === 0 ? install : ["sudo", "-n", ...install];
  attempt(what, () => execFileSync(command[0], command.slice(1), { stdio: "inherit", env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } }));
}

/** redis-server and redis-cli. */
export function redis() {
  for (const [program, debian] of [["redis-server", "redis-server"], ["redis-cli", "redis-tools"]]) {
    const isThere = () => spawnSync(program, ["--version"]).status === 0;
    if (isThere()) continue;
    debianPackage(debian, `${program} from Debian (or install Redis 7 yourself)`);
    if (!isThere()) fail(`${debian} was installed, but ${program} cannot be run`);
  }
}

/** Runs `install` unless `stamp` says that this version of `list` is installed. */
export function once(stamp, list, what, install) {
  const wanted = createHash("sha256").update(readFileSync(list)).digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  attempt(what, install);
  writeFileSync(stamp, wanted);
}

function attempt(what, install) {
  try {
    install();
  } catch (error) {
    fail(`cannot install ${what}: ${error.message}`);
  }
}

/** Ends the run; nothing is skipped because something is missing. */
export function fail(message) {
  console.error(message);
  process.exit(2);
}
