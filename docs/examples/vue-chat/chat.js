// A chat on the relay, in one page and without a build step: a room with its past, who is typing, and a connection that
// comes back.
import { createApp, nextTick, onUnmounted, ref } from "vue";
import { io } from "socket.io-client";

const PAST = 50;
const TYPING_MS = 2_000;

const parameters = new URLSearchParams(location.search);

const Chat = {
  setup() {
    const socket = io(parameters.get("gateway") ?? "http://localhost:3000");
    const name = parameters.get("name") ?? "anonymous";
    const room = parameters.get("room") ?? "lobby";
    const text = ref("");
    const error = ref("");
    const typing = ref("");
    const connected = ref(false);
    const messages = ref([]);
    const list = ref(null);
    /** Up to where this page has seen the room. */
    let offset;
    let quiet;
    let told = 0;

    function show(from, said, mine) {
      messages.value.push({ from, said, mine });
      nextTick(() => list.value.scrollTo(0, list.value.scrollHeight));
    }

    socket.on("connect", async () => {
      if (!socket.recovered || !offset) {
        // A new socket is in no room: it joins, and asks for what it has not seen.
        const joined = await socket.emitWithAck("join", room, offset ? { after: offset } : { rewind: PAST });
        error.value = joined.ok ? "" : joined.error.message;
        if (!joined.ok) return;
        offset = joined.offset;
        // A room of its own, so that the past of the other one is not full of it.
        await socket.emitWithAck("join", `${room}:typing`);
      }
      connected.value = true;
    });
    socket.on("disconnect", () => (connected.value = false));
    socket.on("connect_error", (refused) => (error.value = refused.message));
    socket.on("said", (from, said, place) => {
      offset = place;
      typing.value = "";
      show(from, said, from === name);
    });
    socket.on("typing", (from) => {
      typing.value = `${from} is typing`;
      clearTimeout(quiet);
      quiet = setTimeout(() => (typing.value = ""), 2 * TYPING_MS);
    });
    onUnmounted(() => socket.close());

    /** Tells the others at most every two seconds, and only while there is a connection. */
    function type() {
      if (!connected.value || Date.now() - told < TYPING_MS) return;
      told = Date.now();
      socket.emit("publish", `${room}:typing`, "typing", name);
    }

    async function say() {
      const said = text.value.trim();
      if (!said) return;
      text.value = "";
      told = 0;
      const sent = await socket.emitWithAck("publish", room, "said", name, said);
      error.value = sent.ok ? "" : sent.error.message;
      if (sent.ok) show(name, said, true);
    }

    return { room, text, error, typing, connected, messages, list, say, type };
  },
  template: `
    <header>
      <h1>{{ room }}</h1>
      <span class="state" :class="{ on: connected }">{{ connected ? "connected" : "connecting" }}</span>
    </header>
    <ol ref="list">
      <li v-for="(message, index) in messages" :key="index" :class="{ mine: message.mine }">
        <b v-if="!message.mine">{{ message.from }}</b>{{ message.said }}
      </li>
    </ol>
    <p class="note" :class="{ error }">{{ error || typing }}</p>
    <form @submit.prevent="say">
      <input v-model="text" @input="type" placeholder="message" autofocus />
      <button :disabled="!connected || !text">Say</button>
    </form>
  `,
};

createApp(Chat).mount("#app");
