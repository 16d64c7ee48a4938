/** `arrw up` with stand-ins for the services. */
import { runUp } from "../../../cli/commands/up.ts";
import { fakeServices } from "../fake-services.ts";

await runUp({ services: fakeServices() }).catch((error: unknown) => {
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
