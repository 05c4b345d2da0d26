// Random bytes and mutations of messages, the same for the same seed.

export function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const below = (limit) => next() % limit;
  const choose = (list) => list[below(list.length)];
  const bytes = (length) => Buffer.from(Array.from({ length }, () => below(256)));

  const KINDS = [
    (message) => message,
    (message) => message.subarray(0, below(message.length)),
    (message, others) => Buffer.concat([message.subarray(0, below(message.length)), choose(others).subarray(below(8))]),
    (message) => Buffer.concat([message, bytes(below(10))]),
    (message) => {
      const copy = Buffer.from(message);
      for (let count = 1 + below(4); count > 0; count -= 1) copy[below(copy.length)] = below(256);
      return copy;
    },
    (message) => {
      const at = below(message.length);
      return Buffer.concat([message.subarray(0, at), bytes(1 + below(4)), message.subarray(at)]);
    },
    (message) => {
      const copy = Buffer.from(message);
      copy[below(copy.length)] ^= 1 << below(8);
      return copy;
    },
    // Lengths that promise more than there is.
    (message) => Buffer.concat([Buffer.from([choose([0xdd, 0xdf, 0xdb, 0xc6, 0xc9]), 0xff, 0xff, 0xff, 0xff]), message]),
    // Deep nesting.
    () => Buffer.from("[".repeat(below(5_000))),
    () => Buffer.alloc(below(5_000), choose([0x91, 0x81, 0xdc])),
    () => bytes(below(100)),
  ];
  return { below, choose, bytes, mutation: (messages) => choose(KINDS)(choose(messages), messages) };
}
