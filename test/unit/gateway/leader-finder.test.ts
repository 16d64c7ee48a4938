import assert from "node:assert/strict";
import { test } from "node:test";
import { type Answer, LeaderFinder } from "../../../services/gateway/leader-finder.ts";

const LEADS: Answer = { kind: "leads" };
const follows = (leader?: string): Answer => ({ kind: "follows", leader });
const SILENT: Answer = { kind: "silent", error: new Error("away") };

function finder(answers: Readonly<Record<string, Answer | Promise<Answer>>>, addresses = ["a", "b"]) {
  const asked: string[] = [];
  const ask = async (address: string): Promise<Answer> => {
    asked.push(address);
    return answers[address] ?? SILENT;
  };
  return { asked, finder: new LeaderFinder({ addresses, ask }) };
}

test("the one that leads is found, also where no setting names it", async () => {
  const { asked, finder: f } = finder({ a: follows("c"), b: SILENT, c: LEADS });
  assert.equal((await f.round()).leader, "c");
  assert.equal(f.leader, "c");
  assert.deepEqual(asked, ["a", "b", "c"]);
  f.lost("b");
  assert.equal(f.leader, "c");
  f.lost("c");
  assert.equal(f.leader, undefined);
});

test("each is asked once a round, also when they name each other", async () => {
  const { asked, finder: f } = finder({ a: follows("b"), b: follows("a") });
  const { leader, readers, alive } = await f.round();
  assert.deepEqual([leader, readers, [...alive].sort(), asked], [undefined, [], ["a", "b"], ["a", "b"]]);
});

test("without a leader: who follows nobody can be read from", async () => {
  const { finder: f } = finder({ a: SILENT, b: follows() });
  const { leader, readers } = await f.round();
  assert.deepEqual([leader, readers], [undefined, ["b"]]);
  assert.match(String(f.error), /away/);
});

test("calls share a round, and rounds keep their distance", async () => {
  const { asked, finder: f } = finder({});
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: 1_000 }, () => f.round()));
  assert.equal(asked.length, 2);
  await f.round();
  await f.round();
  assert.equal(asked.length, 6);
  assert.ok(performance.now() - startedAt > 140);
});

test("one that doesn't answer holds up no round, is asked once, and counts when it answers", async () => {
  let answer: (answer: Answer) => void = () => undefined;
  const { asked, finder: f } = finder({ a: new Promise((resolve) => (answer = resolve)), b: SILENT });
  assert.equal((await f.round()).leader, undefined);
  assert.equal((await f.round()).leader, undefined);
  assert.deepEqual(asked, ["a", "b", "b"]);
  answer(LEADS);
  assert.equal((await f.round()).leader, "a");
});
