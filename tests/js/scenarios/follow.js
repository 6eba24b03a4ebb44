// Our own streaming client, runs/static/runs/stream.js.
import { openThread } from "../../../runs/static/runs/stream.js";
import { chances, openProxy } from "../proxy.js";

const CHANNELS = ["values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks", "custom"];
const ENDS = ["completed", "failed", "interrupted"];
const hello = { messages: [{ role: "user", content: "hello" }] };

const isEnd = ({ method, params }) =>
  method === "lifecycle" && !params.namespace.length && ENDS.includes(params.data.event);

/** Follow a thread until so many runs have ended; answers the stream with its `events` and `states` so far. */
function follow({ url, key, threadId }, { runs = 1, ...options } = {}) {
  const events = [];
  const states = [];
  const onState = (state, { transport, error }) => states.push([state, transport ?? error?.code ?? null]);
  const onEvent = (event) => {
    events.push(event);
    if (isEnd(event) && !(runs -= 1)) thread.close();
  };
  const thread = openThread({ base: url, threadId, key, channels: CHANNELS, onEvent, onState, ...options });
  return Object.assign(thread, { events, states });
}

const started = (thread, assistant, options, input = hello) =>
  thread.send("run.start", { assistant_id: assistant, input, config: { configurable: options } });

/** A whole run over one transport, over which it is also answered. */
export async function converse(given) {
  const thread = follow({ ...given, threadId: crypto.randomUUID() }, { runs: 2, ...only(given.transport) });
  await until(() => thread.states.length > 1);
  const refused = await thread.send("agent.getTree").catch(({ code }) => code);
  await started(thread, "interrupt");
  await until(() => thread.events.some(isEnd));
  const { data } = thread.events.find(({ method }) => method === "input.requested").params;
  await thread.send("input.respond", { interrupt_id: data.interrupt_id, response: "yes" });
  await thread.closed;
  return { states: thread.states, refused, ends: thread.events.filter(isEnd).map(({ params }) => params.data.event) };
}

const only = (transport) => (transport === "sse" ? { WebSocket: null } : {});

async function until(look) {
  while (!look()) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** One run, followed in peace, and through a proxy that breaks every connection after at most so many bytes. */
export async function cuts(given) {
  const chance = chances(given.seed);
  const proxy = await openProxy(given.url, { allow: () => 200 + chance() * given.most });
  const { threadId = crypto.randomUUID() } = given;
  const whole = follow({ ...given, threadId }, { since: 0 });
  const broken = follow({ ...given, url: proxy.url, threadId }, { since: 0, ...only(given.transport) });
  if (!given.threadId) await started(whole, "tokens", { n: 100, delay: 0.005 });
  await Promise.all([whole.closed, broken.closed]);
  proxy.close();
  return { cuts: proxy.cuts, whole: whole.events, broken: broken.events, states: broken.states };
}

const isUpgrade = (head) => /^upgrade: websocket/im.test(head);

/** No socket comes through. */
export async function blocked(given) {
  let attempts = 0;
  const proxy = await openProxy(given.url, { refuse: (head) => isUpgrade(head) && ++attempts });
  const thread = follow({ ...given, url: proxy.url, threadId: crypto.randomUUID() });
  await until(() => thread.states.length > 1);
  await started(thread, "tokens", { n: 20, delay: 0.01 });
  await until(() => thread.events.length > 10);
  proxy.cut();
  await thread.closed;
  proxy.close();
  return { attempts, states: thread.states, said: said(thread.events) };
}

const said = (events) =>
  events
    .filter(({ method, params }) => method === "messages" && params.data.event === "content-block-delta")
    .map(({ params }) => params.data.delta.text)
    .join("");

/** The first socket is opened, and nothing comes any more. */
export async function silent(given) {
  let sockets = 0;
  const proxy = await openProxy(given.url, { mute: (head) => isUpgrade(head) && !sockets++ });
  const thread = follow({ ...given, url: proxy.url, threadId: crypto.randomUUID() }, { patience: 1500 });
  await started(thread, "tokens", {});
  await thread.closed;
  proxy.close();
  return { states: thread.states, said: said(thread.events) };
}

/** Follow what somebody else starts, until it ends, over each transport. */
export async function watch(given) {
  const threads = ["websocket", "sse"].map((transport) => follow(given, { since: 0, ...only(transport) }));
  await Promise.all(threads.map(({ closed }) => closed));
  return threads.map(({ events, states }) => ({ events, states, said: said(events) }));
}

/** What it is told for good. */
export async function refused(given) {
  const thread = follow({ threadId: crypto.randomUUID(), ...given }, { ...only(given.transport), ...given.options });
  const error = await thread.closed;
  return { code: error.code, message: error.message, states: thread.states };
}

/** The thread is deleted. */
export async function deleted(given) {
  const threadId = crypto.randomUUID();
  const thread = follow({ ...given, threadId }, { runs: 2, ...only(given.transport) });
  await started(thread, "echo");
  await until(() => thread.events.some(isEnd));
  await fetch(`${given.url}/threads/${threadId}`, { method: "DELETE", headers: { "X-Api-Key": given.key } });
  return (await thread.closed).code;
}
