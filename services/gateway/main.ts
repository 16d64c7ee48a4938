import { runProcess } from "../../platform/lifecycle.ts";
import { begin, orExit } from "../../platform/startup.ts";
import { loadGatewayConfig } from "./config.ts";
import { createGateway } from "./gateway.ts";

const { config, log } = begin("gateway", loadGatewayConfig);
const gateway = orExit(log, () => createGateway(config, log));
await runProcess(gateway.parts, log);
