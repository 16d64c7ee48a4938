import { type EmbeddingProtocol, endpoint, member } from "./protocol.ts";

/** Cohere's /v2/embed. */
export const cohere: EmbeddingProtocol = {
  name: "cohere",
  maxTexts: 96,
  optional: [{ name: "output_dimension", complaint: /dimension/i }],
  url: (baseUrl) => endpoint(baseUrl, "v2", "embed"),
  body: ({ texts, purpose, model, dimensions, without }) => ({
    model,
    texts,
    input_type: purpose === "query" ? "search_query" : "search_document",
    embedding_types: ["float"],
    // A text that is too long is refused: half of it would be found by what that half says.
    truncate: "NONE",
    ...(without.has("output_dimension") ? {} : { output_dimension: dimensions }),
  }),
  vectors: (answer) => {
    const vectors = member(member(answer, "embeddings"), "float");
    return Array.isArray(vectors) ? vectors : undefined;
  },
};
