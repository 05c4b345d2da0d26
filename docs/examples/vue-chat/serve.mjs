// Serves the page and the two libraries that it imports: node serve.mjs [port]
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

const here = (path) => new URL(path, import.meta.url);
const modules = (path) => here(`../node_modules/${path}`);
const FILES = {
  "/": [here("index.html"), "text/html"],
  "/chat.js": [here("chat.js"), "text/javascript"],
  "/vue.js": [modules("vue/dist/vue.esm-browser.prod.js"), "text/javascript"],
  "/socket.io-client.js": [modules("socket.io-client/dist/socket.io.esm.min.js"), "text/javascript"],
};

export function serve(port = 0) {
  const server = createServer(async (request, response) => {
    const [file, type] = FILES[new URL(request.url, "http://x").pathname] ?? [];
    if (!file) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(await readFile(file));
  });
  return new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve(server)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await serve(Number(process.argv[2] ?? 8080));
  console.log(`http://localhost:${server.address().port}/?name=ann`);
}
