// The page's elements, and showing the state in them.

import { INK_COLOURS, INK_NAMES, LINE_NAMES, LINE_WIDTHS, ERASER } from "./board.js";
import { toneOf } from "./chat.js";

export const $ = (id) => document.getElementById(id);

export function showStatus(state, words) {
  $("status").dataset.state = state;
  $("status-text").textContent = words;
}

export function showDetail(transport, latency) {
  $("status-transport").textContent = transport;
  $("status-latency").textContent = latency;
}

export function showNotice(text) {
  $("notice").hidden = !text;
  $("notice-text").textContent = text;
}

export function showPeople(people, drawer) {
  const items = people.ranked().map((person) => {
    const item = document.createElement("li");
    item.className = "user";
    const face = document.createElement("span");
    face.className = `face tone-${toneOf(person.id)}`;
    face.setAttribute("aria-hidden", "true");
    face.textContent = [...person.name][0].toUpperCase();
    const name = document.createElement("span");
    name.className = "user-name";
    name.textContent = person.name;
    item.append(face, name);
    if (person.id === people.me.id) item.append(tag("you"));
    if (person.id === drawer) item.append(tag("draws", "drawing"));
    const score = document.createElement("span");
    score.className = "score";
    score.textContent = String(person.score);
    score.title = "Points";
    item.append(score);
    return item;
  });
  $("users").replaceChildren(...items);
}

function tag(text, kind = "") {
  const span = document.createElement("span");
  span.className = `tag ${kind}`;
  span.textContent = text;
  return span;
}

/** The line above the board, the buttons in it and what the board invites to. */
export function showRound(game, online, boardEmpty) {
  const { round, isDrawer } = game;
  $("round").dataset.role = !round ? "none" : isDrawer ? "drawer" : "guesser";
  const label = !round ? "Free drawing" : isDrawer ? "You draw" : `${round.drawerName} draws`;
  $("round-label").textContent = label;
  const word = $("word");
  word.textContent = !round ? "" : isDrawer ? round.word : spaced(round.mask);
  word.classList.toggle("mask", Boolean(round) && !isDrawer);
  if (round && !isDrawer) word.setAttribute("aria-label", `A word of ${round.mask.replace(/[^_]/g, "").length} letters`);
  else word.removeAttribute("aria-label");
  $("start-round-button").hidden = Boolean(round);
  $("start-round-button").disabled = !online;
  $("reroll-button").hidden = !isDrawer || !boardEmpty;
  $("reroll-button").disabled = !online;
  $("clear-button").hidden = boardEmpty || (Boolean(round) && !isDrawer);
  $("clear-button").disabled = !online;
  $("stop-button").hidden = !isDrawer;
  $("tools").classList.toggle("resting", Boolean(round) && !isDrawer);
  $("message-input").placeholder = round && !isDrawer ? "Your guess" : "Say something";
  $("paper-hint").textContent = !boardEmpty
    ? ""
    : !round
      ? "Draw here: everybody in the room sees it"
      : isDrawer
        ? `Draw “${round.word}”, without letters`
        : `${round.drawerName} is thinking…`;
}

export function showTimer(round) {
  const timer = $("timer");
  timer.hidden = !round;
  if (!round) return;
  const seconds = Math.max(0, Math.ceil((round.endsAt - Date.now()) / 1000));
  timer.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  timer.classList.toggle("urgent", seconds <= 10);
}

const spaced = (mask) => [...mask].map((letter) => (letter === " " ? "\u2003" : letter)).join("\u2009");

/** Fills the toolbar; `change(pen)` tells what was picked. */
export function buildTools(pen, change) {
  const inks = INK_COLOURS.map((colour, ink) => {
    const choice = radio("ink", ink, INK_NAMES[ink], ink === pen.ink);
    choice.querySelector(".mark").style.backgroundColor = colour;
    return choice;
  });
  const eraser = radio("ink", ERASER, "Eraser", false);
  eraser.classList.add("eraser");
  $("inks").append(...inks, eraser);
  const sizes = LINE_WIDTHS.map((width, size) => {
    const choice = radio("size", size, LINE_NAMES[size], size === pen.size);
    const mark = choice.querySelector(".mark");
    mark.style.width = mark.style.height = `${4 + width / 2}px`;
    return choice;
  });
  $("sizes").append(...sizes);
  $("tools").addEventListener("change", (event) => {
    const { name, value } = event.target;
    if (name === "ink" || name === "size") change({ [name]: Number(value) });
  });
  $("tools").addEventListener("submit", (event) => event.preventDefault());
}

function radio(name, value, label, checked) {
  const choice = document.createElement("label");
  choice.className = "choice";
  choice.title = label;
  const input = document.createElement("input");
  Object.assign(input, { type: "radio", name, value: String(value), checked });
  input.setAttribute("aria-label", label);
  const mark = document.createElement("span");
  mark.className = "mark";
  choice.append(input, mark);
  return choice;
}
