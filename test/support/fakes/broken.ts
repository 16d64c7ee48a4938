/** A service that can't start. */
import { part, runProcess } from "../../../platform/lifecycle.ts";
import { createLog } from "../../../platform/log.ts";

const model = part(
  "model",
  () => Promise.reject(new Error("no model here")),
  async () => undefined,
);
await runProcess([model], createLog("worker", "info"));
