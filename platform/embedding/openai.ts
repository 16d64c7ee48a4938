import { type EmbeddingProtocol, endpoint, member } from "./protocol.ts";

/** OpenAI's /v1/embeddings, which Ollama, vLLM, TEI and others have too. */
export const openai: EmbeddingProtocol = {
  name: "openai",
  maxTexts: 2_048,
  optional: [
    { name: "dimensions", complaint: /dimension|matryoshka/i },
    { name: "encoding_format", complaint: /encoding_format|base64/i },
  ],
  url: (baseUrl) => endpoint(baseUrl, "v1", "embeddings"),
  body: ({ texts, model, dimensions, without }) => ({
    model,
    input: texts,
    ...(without.has("dimensions") ? {} : { dimensions }),
    // A third of the bytes of decimal numbers, and quicker to read. Servers that don't know it send numbers.
    ...(without.has("encoding_format") ? {} : { encoding_format: "base64" }),
  }),
  vectors: (answer) => {
    const data = member(answer, "data");
    if (!Array.isArray(data)) return undefined;
    const vectors: unknown[] = [];
    for (const [place, each] of data.entries()) {
      const index = member(each, "index") ?? place;
      const fits = Number.isInteger(index) && (index as number) >= 0 && (index as number) < data.length;
      if (!fits || vectors[index as number] !== undefined) return undefined;
      vectors[index as number] = member(each, "embedding");
    }
    return vectors;
  },
};
