// NODE_OPTIONS=--experimental-vm-modules jest --config jest.config.json
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { next, startGateway } from "./gateway.mjs";

jest.setTimeout(120_000);
const KEY = "a key of the tests";
let gateway;

beforeAll(async () => {
  gateway = await startGateway({ GATEWAY_API_KEY: KEY });
});

afterAll(() => gateway.stop());

test("the backend's emit arrives", async () => {
  const ann = gateway.connect();
  await ann.emitWithAck("join", "lobby");
  const heard = next(ann, "notice");
  expect(await gateway.api("emit", { rooms: ["lobby"], event: "notice", args: ["hello"] })).toEqual({ ok: true });
  expect(await heard).toEqual(["hello"]);
});

test("the backend sees who is in a room", async () => {
  const bob = gateway.connect();
  await bob.emitWithAck("join", "office");
  const { rooms } = await gateway.api("rooms");
  expect(rooms).toContainEqual({ name: "office", members: 1 });
});
