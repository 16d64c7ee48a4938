import { type Command, InvalidArgumentError } from "commander";
import type { Condition } from "../client/index.ts";

/** A condition as it is typed: FIELD=VALUE, or a comparison of a number in metadata. */

/** Gives a command --filter. */
export function withDocumentFilter(command: Command): Command {
  return command.option(
    "--filter <condition>",
    "FIELD=VALUE, metadata.FIELD>=N ...; repeated: all must hold",
    condition,
  );
}

const CONDITION = /^([A-Za-z_][^=<>]*?)\s*(>=|<=|=|>|<)\s*([\s\S]*)$/;
const BOUNDS = { ">=": "gte", ">": "gt", "<=": "lte", "<": "lt" } as const;

/** Repeated: all must hold. */
export function condition(text: string, before: readonly Condition[] = []): Condition[] {
  const [, field = "", operator, typed = ""] = CONDITION.exec(text.trim()) ?? [];
  if (operator === undefined) {
    throw new InvalidArgumentError(
      "expected FIELD=VALUE, or metadata.FIELD with >=, >, <= or < and a number",
    );
  }
  return [...before, { field, test: testOf(field, operator, typed) }];
}

function testOf(field: string, operator: string, typed: string): NonNullable<Condition["test"]> {
  if (operator === "=") return { $case: "equals", value: scalarOf(field, typed) };
  const bound = Number(typed);
  if (typed.trim() === "" || Number.isNaN(bound))
    throw new InvalidArgumentError(`${operator} wants a number`);
  const none = { gte: undefined, gt: undefined, lte: undefined, lt: undefined };
  return { $case: "range", value: { ...none, [BOUNDS[operator as keyof typeof BOUNDS]]: bound } };
}

/** In metadata 12, true and null are what they look like, and "12" in quotes is a text; elsewhere all is text. */
function scalarOf(field: string, typed: string): unknown {
  if (!field.startsWith("metadata.")) return typed;
  try {
    const value: unknown = JSON.parse(typed);
    return typeof value === "object" && value !== null ? typed : value;
  } catch {
    return typed;
  }
}
