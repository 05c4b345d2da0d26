// Loading Socket.IO's client from the gateway, or from where the gateway redirects to.

const PATIENCE_MS = 10_000;

/** Resolves to `io`. `onSlow` is called if it takes long; it may still arrive then. */
export function loadClient(path, onSlow) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    const timer = setTimeout(onSlow, PATIENCE_MS);
    script.src = `${path}socket.io.min.js`;
    script.onload = () => {
      clearTimeout(timer);
      if (typeof window.io === "function") resolve(window.io);
      else reject(new Error("no client in the script"));
    };
    script.onerror = () => {
      clearTimeout(timer);
      reject(new Error("the script cannot be loaded"));
    };
    document.head.append(script);
  });
}

export const CLIENT_MISSING =
  "Socket.IO's client could not be loaded. The gateway has no copy of its own and redirects to the " +
  "public CDN, which this browser cannot reach. Run “npm install socket.io-client” in the gateway's " +
  "working directory, or set “client_dir” to a directory with the client's files; then restart the " +
  "gateway and reload this page.";
