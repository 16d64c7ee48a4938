import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { distanceOf, METRICS, scoreOf } from "../../../services/index/domain/score.ts";

const vector = (length: number) =>
  fc.array(fc.float({ noNaN: true, min: -1000, max: 1000 }), { minLength: length, maxLength: length });
const pair = fc
  .integer({ min: 1, max: 37 })
  .chain((length) => fc.tuple(vector(length), vector(length)))
  .map(([a, b]) => [Float32Array.from(a), Float32Array.from(b)] as const);

test("known distances and scores", () => {
  const a = Float32Array.of(1, 0, 0, 0, 0);
  const b = Float32Array.of(0.6, 0.8, 0, 0, 0);
  assert.ok(Math.abs(distanceOf("cos", a, b) - 0.4) < 1e-7);
  assert.ok(Math.abs(distanceOf("ip", a, b) - 0.4) < 1e-7);
  assert.ok(Math.abs(distanceOf("l2sq", a, b) - 0.8) < 1e-6);
  assert.equal(scoreOf("cos", 0.25), 0.75);
  assert.equal(scoreOf("ip", -3), 4);
  assert.equal(scoreOf("l2sq", 9), -9);
  assert.equal(Object.is(scoreOf("l2sq", 0), 0), true);
});

test("the cosine of a zero vector is 0, not NaN", () => {
  const zero = new Float32Array(3);
  assert.equal(distanceOf("cos", zero, Float32Array.of(1, 2, 3)), 1);
  assert.equal(distanceOf("cos", zero, zero), 1);
});

test("distances are finite, symmetric, and zero for a vector and itself", () => {
  fc.assert(
    fc.property(pair, fc.constantFrom(...METRICS), ([a, b], metric) => {
      const distance = distanceOf(metric, a, b);
      assert.ok(Number.isFinite(distance));
      assert.equal(distance, distanceOf(metric, b, a));
      if (metric === "l2sq") assert.equal(distanceOf(metric, a, a), 0);
      if (metric === "cos") {
        assert.ok(distance >= 0 && distance <= 2);
        if (a.some((x) => x !== 0)) assert.ok(Math.abs(distanceOf(metric, a, a)) < 1e-12);
      }
    }),
  );
});
