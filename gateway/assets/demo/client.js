// Loading Socket.IO's client from the gateway.

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
  "Socket.IO's client could not be loaded from the gateway. Is it running? If a proxy stands in front of " +
  "it, the proxy has to pass on the gateway's path, too.";
