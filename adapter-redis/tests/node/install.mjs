// Installs what the tests beside Node need, or says what it cannot install.
import { npmPackages, redis } from "../../../testkit/js/install.mjs";

npmPackages(import.meta.dirname, "Node's servers and emitters");
redis();
