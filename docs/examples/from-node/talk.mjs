// Two clients at two pods, of Node or of the gateway: node talk.mjs URL URL
import { io } from "socket.io-client";

const [first, second] = process.argv.slice(2);
const room = `room-${Math.random().toString(36).slice(2)}`;
const next = (socket, event) => new Promise((resolve) => socket.once(event, (...args) => resolve(args)));
const late = setTimeout(() => {
  console.error("nothing for 15 seconds");
  process.exit(1);
}, 15_000);

const ann = io(first, { auth: { name: "ann" } });
const bob = io(second, { auth: { name: "bob" } });
const nobody = io(second, { forceNew: true });
const [refused] = await next(nobody, "connect_error");
console.log(`without a name: ${refused.message}`);

await ann.emitWithAck("enter", room);
const entered = next(ann, "entered");
await bob.emitWithAck("enter", room);
console.log(`ann sees ${await entered} enter`);

for (const [from, to, text] of [[ann, bob, "hello"], [bob, ann, "hello yourself"]]) {
  const heard = next(to, "said");
  const { ok } = await from.emitWithAck("say", room, text);
  const [name, words] = await heard;
  console.log(`${name}: ${words} (acknowledged: ${ok})`);
}
console.log(await ann.emitWithAck("say", "elsewhere", "?"));

clearTimeout(late);
for (const socket of [ann, bob, nobody]) socket.close();
