import { SERVICES, type ServiceSpec } from "../../cli/services.ts";

/** The services of `arrw up` with stand-ins for their programs: the supervisor alone is under test. */
export function fakeServices(): ServiceSpec[] {
  return SERVICES.map((service) => ({
    ...service,
    main: new URL(`./fakes/${service.name}.ts`, import.meta.url),
  }));
}
