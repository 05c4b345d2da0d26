// Installs what tests need, once, and says what it cannot install.
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What package-lock.json in `folder` names, from npm. */
export function npmPackages(folder, what) {
  once(join(folder, "node_modules/.installed"), join(folder, "package-lock.json"), `${what} from npm`, () => execFileSync("npm", ["ci", "--no-audit", "--no-fund"], { cwd: folder, stdio: "inherit" }));
}

/** What requirements.txt in `folder` names, from PyPI, in the environment `venv`. Returns its Python. */
export function pythonPackages(venv, folder, what) {
  const python = join(venv, "bin/python");
  const list = join(folder, "requirements.txt");
  once(join(venv, ".installed"), list, `${what} from PyPI (it needs python3 with venv)`, () => {
    execFileSync("python3", ["-m", "venv", venv], { stdio: "inherit" });
    execFileSync(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", list], { stdio: "inherit" });
  });
  return python;
}

/** The program `name` of the crate in `folder`, built in `target` with what its Cargo.lock names. Returns its path. */
export function rustProgram(target, folder, name, what) {
  const cargo = ["build", "--quiet", "--locked", "--manifest-path", join(folder, "Cargo.toml"), "--target-dir", target];
  attempt(`${what} (it needs cargo, pkg-config and OpenSSL's headers: Debian's libssl-dev)`, () => execFileSync("cargo", cargo, { stdio: "inherit" }));
  return join(target, "debug", name);
}

/** A program at `path`, which Debian has in `name`. */
export function debianProgram(path, name, what) {
  const isThere = () => existsSync(path);
  if (isThere()) return;
  debianPackage(name, what);
  if (!isThere()) fail(`${name} was installed, but there is no ${path}`);
}

/** A package from Debian. */
function debianPackage(name, what) {
  const install = ["apt-get", "install", "-y", "--no-install-recommends", name];
  const asRoot = (command) => (process.getuid() === 0 ? command : ["sudo", "-n", ...command]);
  const run = ([program, ...args]) => execFileSync(program, args, { stdio: "inherit", env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } });
  attempt(what, () => {
    try {
      run(asRoot(install));
    } catch {
      // The list of packages is old, or there is none.
      run(asRoot(["apt-get", "update"]));
      run(asRoot(install));
    }
  });
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
function once(stamp, list, what, install) {
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
