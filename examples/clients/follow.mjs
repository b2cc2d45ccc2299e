// A client in JavaScript, for browsers and Node 18 and later, without a dependency: an operation as a stream, followed to
// its end however often the connection breaks. (EventSource can neither POST nor send a credential in a header.)
//
//   AMRIKYY_KEY=api_… node follow.mjs http://localhost:3001 content/generateBlogPost '{"topic": "AI in Travel"}'

const ATTEMPTS = 8; // in a row without anything new
const SILENCE_MS = 30_000; // a comment comes every 15 s: what is silent for longer is broken
const WORTH_ANOTHER_TRY = new Set([429, 502, 503, 504]);

export class Refused extends Error {
  constructor(status, body) {
    super(`${status} ${body.code}: ${body.message}`);
    Object.assign(this, { status, code: body.code, body });
  }
}

/** Yields {event, data} of one run, each once, until `complete`. What the run failed with is thrown as `Refused`. */
export async function* follow(base, headers, operation, request, signal) {
  // With the key a repeated POST is the same run, also when the answer to the first was lost before its first byte.
  const key = crypto.randomUUID();
  let lastId = "";
  let failures = 0;
  for (;;) {
    let pauseMs = Math.min(5_000, 250 * 2 ** failures) * (0.5 + Math.random() / 2);
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE_MS);
    const heard = () => timer.refresh?.() ?? (clearTimeout(timer), (timer = setTimeout(() => silence.abort(), SILENCE_MS)));
    const cut = () => silence.abort();
    signal?.addEventListener("abort", cut);
    try {
      const reply = lastId
        ? await fetch(`${base}/api/stream/${lastId.split(":")[0]}`, {
            headers: { ...headers, "last-event-id": lastId },
            signal: silence.signal,
          })
        : await fetch(`${base}/api/stream/${operation}`, {
            method: "POST",
            headers: { ...headers, "content-type": "application/json", "idempotency-key": key },
            body: JSON.stringify(request),
            signal: silence.signal,
          });
      if (reply.status === 204) return; // all of it has been received
      if (reply.status !== 200) {
        const refused = new Refused(reply.status, await reply.json());
        if (!WORTH_ANOTHER_TRY.has(refused.status) || failures >= ATTEMPTS) throw refused;
        if (reply.headers.has("retry-after")) pauseMs = 1000 * Number(reply.headers.get("retry-after"));
      } else {
        for await (const { id, event, data } of eventsOf(reply.body, heard)) {
          if (event === "reconnect") {
            pauseMs = data.retryMs; // this server stops; any other one goes on with the run
            break;
          }
          lastId = id;
          failures = 0;
          if (event === "error") throw new Refused(200, data);
          yield { event, data };
          if (event === "complete") return;
        }
      }
    } catch (error) {
      if (error instanceof Refused || signal?.aborted || failures >= ATTEMPTS) throw error;
    } finally {
      clearTimeout(timer);
      silence.abort();
      signal?.removeEventListener("abort", cut);
    }
    failures += 1;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** Parses `text/event-stream`. A comment keeps the connection alive and is no event. */
async function* eventsOf(body, heard) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const blocks = (text + decoder.decode(value, { stream: true })).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      if (block.startsWith(":")) continue;
      const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
      yield { id: fields.id ?? "", event: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

if (globalThis.process?.argv[1]?.endsWith("follow.mjs")) {
  const [base, operation, request] = process.argv.slice(2);
  for await (const { event, data } of follow(base, { "x-api-key": process.env.AMRIKYY_KEY }, operation, JSON.parse(request))) {
    if (event === "token") process.stdout.write(data.chunk);
    else if (event === "queued") console.error(`place ${data.position} in line`);
    else if (event === "complete") console.error(`\n${data.totalTokens} tokens, $${data.costUsd}, ${data.model}`);
  }
}
