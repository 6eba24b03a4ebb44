// The streaming client: follows the events of one thread through cuts, restarts and networks that let no WebSocket
// pass, and gives it commands. Plain JavaScript for browsers and Node; docs/reference/streaming-client.md describes it.

/** Milliseconds that pass at most before it connects again: the first time, and ever. */
const PAUSES = [500, 10_000];
/** What another attempt would not change: statuses of HTTP, close codes of the socket, an error of the protocol. */
const FINAL = new Set([400, 401, 403, 404, 405, 413, 422, 4400, 4401, 4403, 4404, "invalid_argument"]);

/** Why a command or the whole stream was refused. Its `code` is the protocol's, HTTP's or the socket's. */
export class StreamError extends Error {
  constructor(message, code) {
    super(message);
    this.name = "StreamError";
    this.code = code;
  }
}

/**
 * Follow a thread until `close()`. Every event comes once and in order, whatever happens to the connection.
 *
 * @param {object} options
 * @param {string} [options.base] address of the API, as "https://host" or "https://host/api"; "" is the page's server
 * @param {string} options.threadId need not exist yet
 * @param {string[]} options.channels as "values", "messages", "lifecycle", "custom:progress"
 * @param {string[][]} [options.namespaces] only what is at one of these or below it
 * @param {number} [options.depth] and at most so far below it
 * @param {number} [options.since] seq of the last event that the caller has; without it: from the current run
 * @param {string} [options.key] API key, where no cookie speaks for the user
 * @param {() => Record<string, string>} [options.headers] more headers, asked for at each request
 * @param {RequestCredentials} [options.credentials] when cookies are sent
 * @param {typeof globalThis.fetch} [options.fetch]
 * @param {typeof globalThis.WebSocket | null} [options.WebSocket] null: only SSE
 * @param {number} [options.patience] milliseconds of silence after which a connection is given up
 * @param {(event: object) => void} [options.onEvent] `{event_id, seq, method, params: {namespace, timestamp, data}}`
 * @param {(state: "connecting" | "open" | "waiting" | "closed", detail: object) => void} [options.onState] `detail` is
 *   `{transport}` when open, "websocket" or "sse"; `{error}` when waiting, and when the server has closed it
 */
export function openThread(options) {
  return new OpenThread(options);
}

class OpenThread {
  /** Resolves at the end: to undefined after `close()`, to a StreamError when the server refuses for good. */
  closed;
  /** Seq of the last event delivered: a later `since`. */
  cursor;
  #options;
  #WebSocket;
  #closing = new AbortController();
  #socket = null;
  #socketsWork = false;
  #pending = new Map();
  #lastId = 0;
  #failures = 0;
  /** Ids of the events at the cursor: a record that becomes several of them comes again until all of it was there. */
  #ids = new Set();

  constructor(options) {
    this.#options = { base: "", credentials: "same-origin", patience: 15_000, fetch: globalThis.fetch, ...options };
    this.#WebSocket = options.WebSocket === undefined ? globalThis.WebSocket : options.WebSocket;
    this.cursor = options.since;
    this.closed = this.#run();
  }

  /**
   * Give a command, as `run.start` or `input.respond`: over the socket if there is one, else by a request. Answers its
   * result; rejects with a StreamError, of the code "connection_lost" when it may have been carried out.
   */
  async send(method, params = {}) {
    const command = { id: ++this.#lastId, method, params };
    const answer = this.#socket ? await this.#ask(command) : await this.#post(this.#path("commands"), command);
    if (answer.type !== "success") throw new StreamError(answer.message, answer.error);
    return answer.result;
  }

  /** Stop following. What runs on the thread goes on. */
  close() {
    this.#closing.abort(new StreamError("The stream was closed.", "closed"));
  }

  async #run() {
    const closing = this.#closing.signal;
    for (;;) {
      this.#tell("connecting");
      const error = await this.#follow().catch((reason) => reason);
      const refused = FINAL.has(error.code) ? error : undefined;
      if (closing.aborted || refused) {
        this.#tell("closed", refused && { error });
        return refused;
      }
      this.#tell("waiting", { error });
      await pause(Math.random() * Math.min(PAUSES[0] * 2 ** this.#failures++, PAUSES[1]), closing);
    }
  }

  /** Deliver over one connection. Always throws: why it ended. */
  async #follow() {
    const silent = new AbortController();
    const signal = AbortSignal.any([this.#closing.signal, silent.signal]);
    let timer;
    const wait = (then) => {
      clearTimeout(timer);
      timer = setTimeout(then, this.#options.patience / 2);
    };
    const giveUp = () => silent.abort(new StreamError("Nothing came for too long.", "silent"));
    const watch = () => wait(() => (this.#ping(), wait(giveUp)));
    const alive = () => ((this.#failures = 0), watch());
    try {
      watch();
      const socket = this.#WebSocket && (await this.#openSocket(signal));
      watch();
      await (socket ? this.#readSocket(socket, signal, alive) : this.#readSse(signal, alive));
    } finally {
      clearTimeout(timer);
    }
  }

  /** An open socket, or null when none can be had: a request takes its place, or says why. */
  async #openSocket(signal) {
    const { base, patience } = this.#options;
    const url = new URL(this.#path("stream/events"), globalThis.location?.href);
    url.protocol = url.protocol.replace("http", "ws");
    const { ticket } = await this.#post(`${base.replace(/\/api$/, "")}/api/v1/auth/ws-ticket`, {}, signal);
    url.searchParams.set("ticket", ticket);
    const socket = new this.#WebSocket(url);
    const opened = await new Promise((resolve) => {
      socket.onopen = () => resolve(true);
      socket.onclose = socket.onerror = () => resolve(false);
      pause(patience / 3, signal).then(() => resolve(false));
    });
    if (!opened) socket.close();
    this.#socketsWork ||= opened;
    return opened ? socket : null;
  }

  async #readSocket(socket, signal, alive) {
    const ended = new Promise((_, reject) => {
      socket.onclose = ({ code, reason }) => reject(new StreamError(reason || "The socket was closed.", code));
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    socket.onmessage = ({ data }) => {
      alive();
      const message = JSON.parse(data);
      if (message.type === "event") return this.#deliver(message);
      this.#pending.get(message.id)?.resolve(message);
      this.#pending.delete(message.id);
    };
    this.#socket = socket;
    this.#tell("open", { transport: "websocket" });
    try {
      await Promise.all([ended, this.send("subscription.subscribe", this.#subscription())]);
    } finally {
      this.#socket = socket.onmessage = null;
      socket.close();
      const lost = new StreamError("The socket was lost.", "connection_lost");
      for (const { reject } of this.#pending.values()) reject(lost);
      this.#pending.clear();
    }
  }

  async #readSse(signal, alive) {
    const response = await this.#request(this.#path("stream/events"), this.#subscription(), signal);
    // Requests pass here and sockets never did: they are not tried again.
    if (!this.#socketsWork) this.#WebSocket = null;
    this.#tell("open", { transport: "sse" });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ; ) {
      const { done, value } = await reader.read();
      if (done) throw new StreamError("The server ended the stream.", "ended");
      alive();
      const frames = (rest + value).split("\r\n\r\n");
      rest = frames.pop();
      for (const frame of frames) {
        const data = frame.match(/^data: (.*)$/m);
        if (data) this.#deliver(JSON.parse(data[1]));
      }
    }
  }

  #deliver(event) {
    if (this.#closing.signal.aborted || this.#ids.has(event.event_id)) return;
    if (!(event.seq <= this.cursor)) {
      this.cursor = event.seq;
      this.#ids.clear();
    }
    this.#ids.add(event.event_id);
    report(this.#options.onEvent, event);
  }

  #tell(state, detail = {}) {
    report(this.#options.onState, state, detail);
  }

  #subscription() {
    const { channels, namespaces, depth } = this.#options;
    return { channels, namespaces, depth, since: this.cursor };
  }

  /** Pages do not see the server's pings. Any answer shows that it is there, and a refusal costs least. */
  #ping() {
    if (this.#socket) this.#ask({ id: ++this.#lastId, method: "ping", params: {} }).catch(() => {});
  }

  #ask(command) {
    return new Promise((resolve, reject) => {
      this.#pending.set(command.id, { resolve, reject });
      this.#socket.send(JSON.stringify(command));
    });
  }

  #path(name) {
    return `${this.#options.base}/threads/${this.#options.threadId}/${name}`;
  }

  async #post(url, body, signal) {
    return (await this.#request(url, body, signal)).json();
  }

  async #request(url, body, signal) {
    const { fetch, key, headers, credentials } = this.#options;
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...(key && { "X-Api-Key": key }), ...headers?.() },
      body: JSON.stringify(body),
      credentials,
      signal,
    });
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    throw new StreamError(problem.detail ?? problem.message ?? response.statusText, response.status);
  }
}

/** Call a function of the caller's. What it throws is reported as uncaught, and is none of the stream's business. */
function report(callback, ...args) {
  try {
    callback?.(...args);
  } catch (error) {
    Promise.reject(error);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const go = () => (clearTimeout(timer), signal.removeEventListener("abort", go), resolve());
    const timer = setTimeout(go, milliseconds);
    signal.addEventListener("abort", go);
  });
}
