// The board and the chat. What may be drawn and what counts, the backend decides.
const query = new URLSearchParams(location.search);
const gateway = query.get("gateway") ?? "http://localhost:3000";
// The gateway brings the client along; cors.origins lets this page load it.
const { io } = await import(`${gateway}/socket.io/socket.io.esm.min.js`);
const element = (id) => document.getElementById(id);

const COLOURS = ["#1d2430", "#c8374a", "#e3b522", "#2f8a57", "#2866b0", "#7a4a94"];
/** Strokes are in thousandths of the board. */
const UNITS = 1_000;
const SEND_EVERY_MS = 50;

const socket = io(gateway, { auth: { name: query.get("name") ?? "anonymous", room: query.get("room") ?? "lobby" } });
let round = null;
let colour = 0;
/** Points of the line that is drawn now, and those that are not sent yet. */
let last = null;
let unsent = [];

const isMine = () => !round || round.drawer === socket.id;

socket.on("connect_error", (error) => show(error.message, true));
socket.on("disconnect", (reason) => {
  element("title").textContent = "Connecting";
  if (reason === "io server disconnect") socket.connect();
});
socket.on("board", (strokes, now) => {
  paper.clearRect(0, 0, board.width, board.height);
  strokes.forEach(draw);
  showRound(now, round?.word);
});
socket.on("stroke", draw);
socket.on("round", (now) => {
  paper.clearRect(0, 0, board.width, board.height);
  showRound(now, round?.word);
});
socket.on("over", (result) => {
  showRound(null);
  show(result ? `${result.winner} found “${result.word}”.` : "The drawer is gone.", true);
});
socket.on("said", (name, text) => show(`${name}: ${text}`));
socket.on("people", (people) => {
  element("people").replaceChildren(
    ...people.map(({ name, score }) => {
      const line = document.createElement("li");
      line.append(name, Object.assign(document.createElement("b"), { textContent: score }));
      return line;
    }),
  );
});

element("start").addEventListener("click", async () => {
  const answer = await socket.emitWithAck("start");
  if (answer.ok) showRound({ ...round, drawer: socket.id, word: answer.word });
});
element("clear").addEventListener("click", () => socket.emit("clear"));
document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = element("text").value;
  const answer = await socket.emitWithAck("say", text);
  if (!answer.ok) return show(answer.error.code === "no_hints" ? "No hints!" : answer.error.code, true);
  show(text);
  element("text").value = "";
});

function show(text, isNote = false) {
  const line = Object.assign(document.createElement("li"), { textContent: text, className: isNote ? "note" : "" });
  element("chat").append(line);
  line.scrollIntoView({ block: "nearest" });
}

/** A drawer also knows the word, which comes with the answer to `start`. */
function showRound(now, word = now?.word) {
  round = now && { ...now, word };
  element("title").textContent = !now ? "Free drawing" : now.drawer === socket.id ? `Draw: ${word ?? ""}` : `${now.name} draws: ${"_ ".repeat(now.letters)}`;
  element("start").disabled = Boolean(now);
  element("clear").disabled = !isMine();
  board.classList.toggle("mine", isMine());
  element("colours").classList.toggle("resting", !isMine());
}

// The board

const board = element("board");
const paper = board.getContext("2d");
Object.assign(paper, { lineWidth: 6, lineCap: "round", lineJoin: "round" });

function draw({ colour, points }) {
  paper.strokeStyle = COLOURS[colour];
  paper.beginPath();
  for (let i = 0; i < points.length; i += 2) paper.lineTo((points[i] / UNITS) * board.width, (points[i + 1] / UNITS) * board.height);
  paper.stroke();
}

function place(event) {
  const box = board.getBoundingClientRect();
  const within = (share) => Math.round(Math.min(1, Math.max(0, share)) * UNITS);
  return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
}

board.addEventListener("pointerdown", (event) => {
  if (!isMine() || !socket.connected) return;
  board.setPointerCapture(event.pointerId);
  last = place(event);
  unsent = [...last];
});
board.addEventListener("pointermove", (event) => {
  if (!last) return;
  const next = place(event);
  draw({ colour, points: [...last, ...next] });
  unsent.push(...next);
  last = next;
});
board.addEventListener("pointerup", () => {
  send();
  last = null;
});
setInterval(send, SEND_EVERY_MS);

/** A piece begins where the one before ended. */
function send() {
  if (!last || unsent.length < 4) return;
  socket.emit("stroke", { colour, points: unsent.slice(0, 400) });
  unsent = [...last];
}

for (const [index, value] of COLOURS.entries()) {
  const choice = document.createElement("button");
  choice.style.background = value;
  choice.ariaLabel = `Colour ${index + 1}`;
  choice.ariaPressed = String(index === colour);
  choice.addEventListener("click", () => {
    colour = index;
    for (const other of element("colours").children) other.ariaPressed = String(other === choice);
  });
  element("colours").append(choice);
}
