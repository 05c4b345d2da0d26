// The connection to the gateway: its state, requests with answers, and errors in words.

const ANSWER_MS = 5_000;
const ECHO_MS = 3_000;
/** As many as a gateway keeps, unless it is set up otherwise. */
const PAST_EVENTS = 1_000;

const CODES = {
  unknown_event: "The gateway does not know this event. Is its application not the relay?",
  bad_room: "The gateway does not accept this room name.",
  forbidden_room: "This room name is reserved.",
  bad_event: "The gateway does not accept this event.",
  forbidden: "You are not allowed to do that here.",
  too_many_rooms: "You are in too many rooms.",
  rate_limited: "That was too fast: the gateway limits how many events you may send.",
};

const REASONS = {
  "io server disconnect": "The gateway ended the connection.",
  "io client disconnect": "Disconnected.",
  "ping timeout": "The gateway stopped answering.",
  "transport close": "The connection was lost.",
  "transport error": "The connection broke.",
  "parse error": "The gateway sent something that could not be read.",
};

const REFUSALS = {
  token_missing: "This gateway asks for a token, and the demo has none.",
  token_expired: "The token has expired.",
  token_invalid: "The gateway does not accept the token.",
  namespace_forbidden: "The token does not allow this namespace.",
};

/** A request that failed; `code` is the gateway's, or null if there was no answer. */
export class RequestError extends Error {
  constructor(message, code = null) {
    super(message);
    this.code = code;
  }
}

export class Link {
  #socket;
  #on;
  /** Whether the gateway keeps what was; it says if it does not. */
  #keeps = true;
  /** Of the last event: what comes later is behind it. */
  #offset = null;

  /** `on`: status(state, words), detail(transport, latency), up(recovered), down(), problem(words). */
  constructor(io, path, on) {
    this.#on = on;
    const wanted = new URLSearchParams(location.search).get("transport");
    const transports = ["polling", "websocket"].filter((name) => !wanted || name === wanted);
    this.#socket = io({ path, transports, tryAllTransports: true, reconnectionDelayMax: 3_000 });
    this.#listen();
    setInterval(() => this.#measure(), ECHO_MS);
  }

  get connected() {
    return this.#socket.connected;
  }

  listen(event, handler) {
    this.#socket.on(event, (value, offset) => {
      if (typeof offset === "string") this.#offset = offset;
      handler(value);
    });
  }

  /**
   * Joins a room. Where the gateway keeps what was, its last events come before this resolves, or when joining `again`
   * those that were missed.
   */
  async join(room, again) {
    if (this.#keeps && (!again || this.#offset)) {
      try {
        const past = again ? { after: this.#offset } : { rewind: PAST_EVENTS };
        const { offset } = await this.request("join", room, past);
        if (typeof offset === "string") this.#offset = offset;
        return;
      } catch (error) {
        if (error.code !== "no_history") throw error;
        this.#keeps = false;
      }
    }
    await this.request("join", room);
  }

  /** Resolves with the answer when the gateway says ok. */
  request(event, ...args) {
    return new Promise((resolve, reject) => {
      if (!this.connected) {
        reject(new RequestError("Not connected at the moment: nothing was sent."));
        return;
      }
      const late = () => reject(new RequestError(`The gateway did not answer "${event}".`));
      const timer = setTimeout(late, ANSWER_MS);
      this.#socket.emit(event, ...args, (answer) => {
        clearTimeout(timer);
        if (answer?.ok === true) resolve(answer);
        else reject(refused(answer?.error));
      });
    });
  }

  #listen() {
    const socket = this.#socket;
    socket.on("connect", () => {
      this.#on.status("online", "Connected");
      this.#showDetail(null);
      socket.io.engine.on("upgrade", () => this.#showDetail(null));
      this.#on.up(socket.recovered === true);
      this.#measure();
    });
    socket.on("disconnect", (reason) => {
      this.#on.status("waiting", "Reconnecting…");
      this.#on.detail("", "");
      this.#on.down(REASONS[reason] ?? "The connection was lost.");
      if (reason === "io server disconnect") setTimeout(() => socket.connect(), 1_000);
    });
    socket.on("connect_error", (error) => {
      const willRetry = socket.active;
      this.#on.status(willRetry ? "waiting" : "offline", willRetry ? "Reconnecting…" : "Offline");
      this.#on.detail("", "");
      this.#on.problem(refusal(error));
    });
  }

  #measure() {
    if (!this.connected || document.hidden) return;
    const sent = performance.now();
    this.#socket.emit("echo", sent, (back) => {
      if (back === sent) this.#showDetail(performance.now() - sent);
    });
  }

  #showDetail(latency) {
    const transport = this.#socket.io.engine?.transport?.name ?? "";
    const ms = latency === null ? "" : latency < 1 ? "< 1 ms" : `${Math.round(latency)} ms`;
    this.#on.detail(transport, ms);
  }
}

function refused(error) {
  const code = typeof error?.code === "string" ? error.code : null;
  const said = typeof error?.message === "string" ? error.message.slice(0, 200) : "";
  return new RequestError(CODES[code] ?? (said || "The gateway refused that."), code);
}

function refusal(error) {
  const known = REFUSALS[error?.data?.code];
  if (known) return known;
  if (error?.message === "Invalid namespace") return "This gateway does not serve the namespace of the demo, “/”.";
  if (error?.type === "TransportError") return "The gateway cannot be reached. Trying again…";
  const said = String(error?.message ?? "").slice(0, 200);
  return `The gateway refused the connection${said ? `: ${said}` : ""}.`;
}
