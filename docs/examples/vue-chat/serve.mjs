// Serves the page and the two libraries that it imports: node serve.mjs. PORT is 8080 unless it is set.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const here = (path) => new URL(path, import.meta.url);
const FILES = {
  "/": [here("index.html"), "text/html"],
  "/chat.js": [here("chat.js"), "text/javascript"],
  "/vue.js": [here("node_modules/vue/dist/vue.esm-browser.prod.js"), "text/javascript"],
  "/socket.io-client.js": [here("node_modules/socket.io-client/dist/socket.io.esm.min.js"), "text/javascript"],
};

const server = createServer(async (request, response) => {
  const [file, type] = FILES[new URL(request.url, "http://x").pathname] ?? [];
  if (!file) return response.writeHead(404).end();
  response.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(await readFile(file));
});
server.listen(Number(process.env.PORT ?? 8080), "127.0.0.1", () => {
  console.log(`the page is at http://localhost:${server.address().port}/?name=ann`);
});
