import { runProcess } from "../../platform/lifecycle.ts";
import { begin } from "../../platform/startup.ts";
import { loadGatewayConfig } from "./config.ts";
import { createGateway } from "./gateway.ts";

const { config, log } = begin("gateway", loadGatewayConfig);
await runProcess(createGateway(config, log).parts, log);
