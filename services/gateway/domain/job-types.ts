import type { JobSpec } from "../../../proto/gen/arrwdb/v1/jobs.ts";

type SpecCase = NonNullable<JobSpec["spec"]>["$case"];

interface JobType {
  /** Its public name: the field of JobSpec. */
  readonly name: string;
  readonly needsLibrary: boolean;
  /** Its items have outcomes of their own. */
  readonly hasItems?: boolean;
}

const TYPES: Readonly<Record<SpecCase, JobType>> = {
  batchImport: { name: "batch_import", needsLibrary: true, hasItems: true },
  indexRebuild: { name: "index_rebuild", needsLibrary: true },
  indexOptimize: { name: "index_optimize", needsLibrary: true },
  regenerateEmbeddings: { name: "regenerate_embeddings", needsLibrary: true },
  batchDelete: { name: "batch_delete", needsLibrary: true, hasItems: true },
  batchExport: { name: "batch_export", needsLibrary: true },
  echo: { name: "echo", needsLibrary: false },
};

export const JOB_TYPE_NAMES: readonly string[] = Object.values(TYPES).map(({ name }) => name);

/** undefined: no spec is set. */
export function jobTypeOf(spec: JobSpec | undefined): JobType | undefined {
  return spec?.spec && TYPES[spec.spec.$case];
}

/** Whether jobs of the type have items that ListJobItems lists. */
export function typeHasItems(name: string): boolean {
  return Object.values(TYPES).some((type) => type.name === name && type.hasItems);
}
