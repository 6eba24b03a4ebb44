// The Agent Streaming Protocol, as `client.threads.stream` of `@langchain/langgraph-sdk` speaks it.
import { Client, ProtocolError } from "@langchain/langgraph-sdk/client";
import WebSocket from "ws";
import { chances, openProxy } from "../proxy.js";

const CHANNELS = ["values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks", "custom"];
const hello = { messages: [{ role: "user", content: "hello" }] };
const ENDS = ["completed", "failed", "interrupted"];

/** The client's threads with sockets may have no headers: the handshake has the key. */
function clientOf({ url, key, transport }) {
  return new Client({ apiUrl: url, apiKey: transport === "websocket" ? null : key });
}

function streamOf(given, assistantId, options = {}) {
  const { threadId, ...rest } = options;
  return clientOf(given).threads.stream(threadId, {
    assistantId,
    transport: given.transport,
    webSocketFactory: (address) => new WebSocket(address, { headers: { "X-Api-Key": given.key } }),
    reconnectDelayMs: () => 20,
    ...rest,
  });
}

const configured = (options) => ({ config: { configurable: options } });

/** What `each` makes of every item, at once for all: what an item streams is to be read while it does. */
async function all(items, each = (item) => item) {
  const found = [];
  for await (const item of items) found.push(each(item));
  return await Promise.all(found);
}

/** Subscribe to everything; answers a function that waits for so many ends of runs and answers all events so far. */
async function watch(thread) {
  const events = [];
  let look = () => {};
  thread.onEvent((event) => (events.push(event), look()));
  await thread.subscribe({ channels: CHANNELS });
  return async (ends) => {
    while (events.filter(isEnd).length < ends) await new Promise((resolve) => (look = resolve));
    return events;
  };
}

const isEnd = ({ method, params }) =>
  method === "lifecycle" && !params.namespace.length && ENDS.includes(params.data.event);
const endsOf = (events) => events.filter(isEnd).map(({ params }) => params.data.event);

// What a stream is to be read by is named before the run is started: a run may have ended when its start is answered.

export async function tokens(given) {
  const thread = streamOf(given, "tokens");
  const seen = [
    all(thread.values),
    all(thread.messages, async (message) => ({ pieces: await all(message.text), whole: await message.text })),
    thread.output,
  ];
  const { run_id: runId } = await thread.run.start({ input: hello, ...configured({ n: 5 }) });
  const [values, messages, output] = await Promise.all(seen);
  await thread.close();
  return { runId, threadId: thread.threadId, values, messages, output };
}

export async function tools(given) {
  const thread = streamOf(given, "tooled");
  const calls = all(thread.toolCalls, async ({ name, input, output }) => ({
    name,
    input,
    output: await output.catch((error) => error.message),
  }));
  await thread.run.start({ input: hello });
  const result = { calls: await calls, output: await thread.output };
  await thread.close();
  return result;
}

export async function subgraphs(given) {
  const thread = streamOf(given, "deep");
  const lookInto = async ({ name, messages, subgraphs }) => ({
    name,
    said: await all(messages, (message) => message.text),
    below: await all(subgraphs, ({ name }) => name),
  });
  const found = all(thread.subgraphs, lookInto);
  await thread.run.start({ input: hello, ...configured({ delay: 0.02 }) });
  const result = await found;
  await thread.close();
  return result;
}

export async function extensions(given) {
  const named = streamOf(given, "named");
  const progress = all(named.extensions.progress);
  await named.run.start({ input: hello });
  const extended = streamOf(given, "extended");
  const { words } = extended.extensions;
  const counts = all(words);
  await extended.run.start({ input: hello });
  const result = { progress: await progress, counts: await counts, last: await words };
  await Promise.all([named.close(), extended.close()]);
  return result;
}

export async function respond(given) {
  const thread = streamOf(given, "interrupt");
  const untilEnds = await watch(thread);
  await thread.run.start({ input: hello });
  await untilEnds(1);
  const { interrupted } = thread;
  const asked = structuredClone(thread.interrupts);
  const stranger = await thread.input.respond(answer({ ...asked[0], interruptId: "nobody" }, "yes")).catch(codeOf);
  await thread.input.respond(answer(asked[0], "yes"));
  const ends = endsOf(await untilEnds(2));
  const again = await thread.input.respond(answer(asked[0], "yes")).catch(codeOf);
  const state = await clientOf({ ...given, transport: "sse" }).threads.getState(thread.threadId);
  await thread.close();
  return { interrupted, asked, stranger, ends, again, state };
}

const answer = ({ namespace, interruptId }, response) => ({ namespace, interrupt_id: interruptId, response });
const codeOf = (error) => (error instanceof ProtocolError ? error.code : String(error));

/** Another client cancels what this one watches. */
export async function cancel(given) {
  const thread = streamOf(given, "slow");
  const untilEnds = await watch(thread);
  const { run_id: runId } = await thread.run.start({ input: hello, ...configured({ sleep: 30 }) });
  await clientOf({ ...given, transport: "sse" }).runs.cancel(thread.threadId, runId);
  const events = await untilEnds(1);
  await thread.close();
  return events.at(-1).params.data;
}

export async function commands(given) {
  const thread = streamOf(given, "custom");
  const missing = await thread.agent.getTree().catch(codeOf);
  const untilEnds = await watch(thread);
  await thread.run.start({ input: hello });
  await untilEnds(1);
  const result = {
    missing,
    tree: await thread.agent.getTree(),
    state: await thread.state.get({ namespace: [] }),
    checkpoints: await thread.state.listCheckpoints({ namespace: [] }),
    stranger: await thread.state.fork({ checkpoint_id: "1ef00000-0000-6000-8000-000000000000" }).catch(codeOf),
  };
  const first = result.checkpoints.checkpoints.at(-1);
  result.forked = await thread.state.fork({ checkpoint_id: first.id, input: hello });
  await untilEnds(2);
  await thread.input.inject(more);
  result.after = await thread.state.get({ namespace: [] });
  await thread.close();
  return result;
}

const more = { namespace: [], message: { role: "user", content: "more" } };

/** A message for a graph that is running. */
export async function inject(given) {
  const thread = streamOf(given, "slow");
  const untilEnds = await watch(thread);
  await thread.run.start({ input: hello, ...configured({ sleep: 0.05 }) });
  await thread.input.inject(more);
  const ends = endsOf(await untilEnds(2));
  const { values } = await thread.state.get({ namespace: [] });
  await thread.close();
  return { ends, values };
}

/**
 * A run is watched directly, and through a proxy that breaks connections: a request anywhere, a socket some events
 * after its subscriptions have been answered. A socket of this SDK that breaks before never comes back.
 */
export async function cuts(given) {
  const overSocket = given.transport === "websocket";
  const chance = chances(given.seed);
  // The client begins anew each time, so that it only comes to the end when some connection lasts.
  let most = 1000;
  const proxy = await openProxy(given.url, { allow: () => (overSocket ? Infinity : chance() * (most *= 1.5)) });
  let untilCut = Infinity;
  const arm = () => (untilCut = overSocket ? Math.floor(chance() * 30) : Infinity);
  const thread = streamOf({ ...given, url: proxy.url }, "tokens", { maxReconnectAttempts: 1000, onConnected: arm });
  const direct = streamOf(given, "tokens", { threadId: thread.threadId });
  const untilWhole = await watch(direct);
  const untilBroken = await watch(thread);
  thread.onEvent(() => untilCut-- || (proxy.cut(), (proxy.cuts += 1)));
  await direct.run.start({ input: hello, ...configured({ n: 100, delay: 0.01 }) });
  const whole = await untilWhole(1);
  const broken = await untilBroken(1);
  await Promise.all([thread.close(), direct.close()]);
  proxy.close();
  return { cuts: proxy.cuts, broken, whole };
}
