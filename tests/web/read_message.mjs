// Reads a UI message stream from stdin with Vercel's own package; prints each part that it parsed,
// and the message in the end.
import { Readable } from "node:stream";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.argv[2] + "/"));
const { parseJsonEventStream, uiMessageChunkSchema, readUIMessageStream } = await import(
  pathToFileURL(require.resolve("ai"))
);

const parsed = parseJsonEventStream({
  stream: Readable.toWeb(process.stdin),
  schema: uiMessageChunkSchema,
});
const kinds = [];
const checked = parsed.pipeThrough(
  new TransformStream({
    transform(part, controller) {
      if (!part.success) throw part.error;
      kinds.push(part.value.type);
      controller.enqueue(part.value);
    },
  }),
);
let message = null;
let failure = null;
const stream = readUIMessageStream({
  stream: checked,
  onError: (error) => {
    failure = String(error?.message ?? error);
  },
});
for await (const state of stream) message = state;
console.log(JSON.stringify({ kinds, message, failure }));
