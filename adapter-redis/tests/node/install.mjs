// Installs what the tests beside Node need, or says what it cannot install.
import { npmPackages, redis } from "../../../gateway/tests/clients/lib/install.mjs";

npmPackages(import.meta.dirname, "Node's servers and emitters");
redis();
