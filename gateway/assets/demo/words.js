// The words to draw, and how a guess is compared with one.

const WORDS = `anchor apple backpack banana beach bear bicycle bridge broom butterfly cactus
camera campfire candle castle cat chair cheese clock cloud compass crown dolphin door dragon
drum duck elephant envelope feather fence fish flag flower fork fox frog ghost giraffe glasses
guitar hammer hat hedgehog helicopter house ice_cream island kangaroo key kite ladder lamp leaf
lighthouse lightning lion mailbox map mermaid moon mountain mushroom octopus owl palm_tree
parachute pencil penguin piano pineapple pirate pizza planet popcorn pyramid rabbit rainbow
robot rocket sailing_boat sandwich scarecrow scissors shark snail snowman spider squirrel
submarine sunflower suitcase swing sword teapot telescope tent toothbrush tractor train
treasure tree trumpet turtle umbrella unicorn violin volcano waterfall whale windmill window
witch zebra`.split(/\s+/).map((word) => word.replace("_", " "));

export function pickWord(except) {
  let word = except;
  while (word === except) word = WORDS[Math.floor(Math.random() * WORDS.length)];
  return word;
}

/** What the others see of a word: one low line for each letter. */
export const maskOf = (word) => word.replace(/\p{L}/gu, "_");

export const isHit = (guess, word) => normal(guess) === normal(word);

/** One letter too many, too few or wrong. */
export function isNear(guess, word) {
  const [a, b] = [normal(guess), normal(word)];
  if (b.length < 4 || Math.abs(a.length - b.length) > 1) return false;
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  const rest = Math.min(a.length, b.length) - start;
  while (end < rest && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  return Math.max(a.length, b.length) - start - end <= 1;
}

const normal = (text) =>
  text.normalize("NFKD").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "");
