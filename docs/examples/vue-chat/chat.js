// A chat on the relay, in one page and without a build step: rooms, who publishes what, and a
// connection that comes back.
import { createApp, onUnmounted, ref } from "vue";
import { io } from "socket.io-client";

const parameters = new URLSearchParams(location.search);

const Chat = {
  setup() {
    const socket = io(parameters.get("gateway") ?? "http://localhost:3000", {
      auth: (give) => give({ token: parameters.get("token") }),
    });
    const name = ref(parameters.get("name") ?? "anonymous");
    const room = ref("lobby");
    const text = ref("");
    const error = ref("");
    const connected = ref(false);
    const messages = ref([]);

    // A socket that comes back is a new one on the server: it joins again.
    socket.on("connect", async () => {
      const joined = await socket.emitWithAck("join", room.value);
      error.value = joined.ok ? "" : joined.error.message;
      connected.value = joined.ok;
    });
    socket.on("disconnect", () => (connected.value = false));
    socket.on("connect_error", (refused) => (error.value = refused.message));
    socket.on("said", (from, said) => messages.value.push({ from, said }));
    onUnmounted(() => socket.close());

    async function say() {
      const sent = await socket.emitWithAck("publish", room.value, "said", name.value, text.value);
      error.value = sent.ok ? "" : sent.error.message;
      if (!sent.ok) return;
      messages.value.push({ from: name.value, said: text.value });
      text.value = "";
    }

    return { name, room, text, error, connected, messages, say };
  },
  template: `
    <h1>{{ room }}</h1>
    <p class="state">{{ connected ? "connected" : "connecting" }}</p>
    <ul>
      <li v-for="(message, index) in messages" :key="index">
        <b>{{ message.from }}</b> {{ message.said }}
      </li>
    </ul>
    <p class="error">{{ error }}</p>
    <form @submit.prevent="say">
      <input v-model="text" placeholder="message" autofocus />
      <button :disabled="!connected || !text">Say</button>
    </form>
  `,
};

createApp(Chat).mount("#app");
