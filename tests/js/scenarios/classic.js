// The classic API, as `@langchain/langgraph-sdk` speaks it.
import { Client } from "@langchain/langgraph-sdk";

const clientOf = ({ url, key }) => new Client({ apiUrl: url, apiKey: key });
const hello = { messages: [{ role: "user", content: "hello" }] };

/** The parts of a stream, as `[event, data]`. */
async function partsOf(stream) {
  const parts = [];
  for await (const { event, data } of stream) parts.push([event, data]);
  return parts;
}

export async function threads(given) {
  const client = clientOf(given);
  const made = await client.threads.create({ metadata: { topic: "weather" } });
  const id = made.thread_id;
  await client.threads.update(id, { metadata: { mood: "fine" } });
  const values = await client.runs.wait(id, "echo", { input: hello });
  await client.threads.updateState(id, { values: { messages: [{ role: "user", content: "and now?" }] } });
  const result = {
    made,
    values,
    found: await client.threads.search({ metadata: { topic: "weather" }, ids: [id] }),
    state: await client.threads.getState(id),
    history: await client.threads.getHistory(id),
    copied: (await client.threads.copy(id)).metadata,
    runs: await client.runs.list(id),
  };
  await client.threads.delete(id);
  return { ...result, deleted: await client.threads.get(id).catch((error) => error.status) };
}

export async function stream(given) {
  const client = clientOf(given);
  const { thread_id: id } = await client.threads.create();
  let created;
  const streamed = await partsOf(
    client.runs.stream(id, "tokens", {
      input: hello,
      config: { configurable: { n: 5 } },
      streamMode: ["values", "messages-tuple"],
      onRunCreated: (run) => (created = run),
    }),
  );
  const joined = await partsOf(client.runs.joinStream(id, created.run_id, { lastEventId: "-1" }));
  return { streamed, joined, run: await client.runs.get(id, created.run_id) };
}

/** A run and a thread are joined while the run is on. */
export async function join(given) {
  const client = clientOf(given);
  const { thread_id: id } = await client.threads.create();
  const leave = new AbortController();
  const ofThread = [];
  const watched = (async () => {
    for await (const { event, data } of client.threads.joinStream(id, { lastEventId: "0", signal: leave.signal })) {
      ofThread.push([event, data]);
      if (data?.status === "run_done") return leave.abort();
    }
  })().catch((error) => leave.signal.aborted || Promise.reject(error));
  const run = await client.runs.create(id, "slow", { input: hello, config: { configurable: { sleep: 0.05 } } });
  const ofRun = await partsOf(client.runs.joinStream(id, run.run_id));
  await watched;
  return { ofRun, ofThread, values: await client.runs.join(id, run.run_id) };
}

export async function resume(given) {
  const client = clientOf(given);
  const { thread_id: id } = await client.threads.create();
  const asked = await client.runs.wait(id, "interrupt", { input: hello });
  const waiting = await client.threads.get(id);
  const answered = await client.runs.wait(id, "interrupt", { command: { resume: "yes" } });
  return { asked, waiting, answered };
}

export async function cancel(given) {
  const client = clientOf(given);
  const { thread_id: id } = await client.threads.create();
  const run = await client.runs.create(id, "slow", { input: hello, config: { configurable: { sleep: 30 } } });
  await client.runs.cancel(id, run.run_id, true);
  return { run: await client.runs.get(id, run.run_id), thread: await client.threads.get(id) };
}
