// The list of messages.

const MAX_MESSAGES = 200;

export class Chat {
  #list;
  #lastAuthor = null;
  #atEnd = true;

  constructor(list) {
    this.#list = list;
    list.addEventListener("scroll", () => {
      this.#atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
    });
    new ResizeObserver(() => this.#follow()).observe(list);
  }

  say({ id, name }, text, isMe) {
    const item = document.createElement("li");
    item.className = isMe ? "message own" : "message";
    if (id !== this.#lastAuthor) {
      item.classList.add("first");
      const author = document.createElement("span");
      author.className = `author tone-${toneOf(id)}`;
      author.textContent = isMe ? `${name} (you)` : name;
      item.append(author);
    }
    const words = document.createElement("span");
    words.className = "text";
    words.dir = "auto";
    words.textContent = text;
    item.append(words);
    this.#append(item);
    this.#lastAuthor = id;
  }

  tell(text, kind = "note") {
    const item = document.createElement("li");
    item.className = `told ${kind}`;
    item.textContent = text;
    this.#append(item);
    this.#lastAuthor = null;
  }

  clear() {
    this.#list.replaceChildren();
    this.#lastAuthor = null;
    this.#atEnd = true;
  }

  #append(item) {
    this.#list.append(item);
    while (this.#list.childElementCount > MAX_MESSAGES) this.#list.firstElementChild.remove();
    this.#follow();
  }

  /** Keeps the last message in sight, unless the reader has scrolled up. */
  #follow() {
    if (this.#atEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }
}

/** One of the six colours that names have. */
export function toneOf(id) {
  let sum = 0;
  for (const letter of id) sum = (sum * 31 + letter.charCodeAt(0)) % 9973;
  return sum % 6;
}
