// The streaming client: follows the events of one thread through cuts, restarts and networks that let no WebSocket
// pass, and gives it commands. Plain JavaScript for browsers and Node; it needs `fetch` and, for sockets, `WebSocket`.

/** Milliseconds that it waits at most before it connects again: the first time, and ever. */
const SHORT_PAUSE = 500;
const LONG_PAUSE = 30_000;
/** What another attempt does not change: statuses of HTTP, close codes of the socket, an error of the protocol. */
const FINAL = new Set([400, 401, 403, 404, 405, 413, 422, 4401, 4403, 4404, "invalid_argument"]);

/** A command was refused, or the stream was. `code` is the protocol's, HTTP's or the socket's. */
export class StreamError extends Error {
  /**
   * @param {string} message
   * @param {string | number} code
   */
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
 * @param {string} options.base address of the API, as "https://host"; "" is the page's own server
 * @param {string} options.threadId need not exist yet
 * @param {string[]} options.channels as "values", "messages", "lifecycle", "custom:progress"
 * @param {string[][]} [options.namespaces] only what is at one of these or below it
 * @param {number} [options.depth] and at most so far below it
 * @param {number} [options.since] seq of the last event that the caller has; without it: from the current run
 * @param {string} [options.key] API key, where no cookie speaks for the user
 * @param {() => Record<string, string>} [options.headers] more headers for each request
 * @param {RequestCredentials} [options.credentials] when cookies are sent; "same-origin"
 * @param {typeof globalThis.fetch} [options.fetch]
 * @param {typeof globalThis.WebSocket | null} [options.WebSocket] null: none, only SSE
 * @param {number} [options.patience] milliseconds of silence after which a connection is given up; 15000. Must be
 *   more than twice the server's STREAM_HEARTBEAT.
 * @param {(event: object) => void} [options.onEvent] `{event_id, seq, method, params: {namespace, timestamp, data}}`
 * @param {(state: "connecting" | "open" | "waiting" | "closed", detail: object) => void} [options.onState] `detail` has
 *   the `transport` when open, "websocket" or "sse"; why the last connection ended, `error`, when waiting; when
 *   closed, the `error` if it was not by `close()`
 */
export function openThread(options) {
  return new OpenThread(options);
}

class OpenThread {
  /** Resolves at the end: to undefined after `close()`, to a StreamError when the server wants no further attempt. */
  closed;
  /** Seq of the last event delivered: what `since` continues from. */
  cursor;

  #options;
  #WebSocket;
  #fetch;
  #closing = new AbortController();
  #socket = null;
  #socketsWork = false;
  #pending = new Map();
  #lastId = 0;
  #failures = 0;
  /** Ids of the events at the cursor. One record may be several events, and is sent again unless all have come. */
  #ids = new Set();

  constructor(options) {
    this.#options = { base: "", credentials: "same-origin", patience: 15_000, ...options };
    this.#WebSocket = options.WebSocket === undefined ? globalThis.WebSocket : options.WebSocket;
    this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    this.cursor = options.since;
    this.closed = this.#run();
  }

  /**
   * Give a command, as `run.start` or `input.respond`: over the socket if there is one, else by a request.
   *
   * @param {string} method
   * @param {object} [params]
   * @returns {Promise<object>} its result. Rejects with a StreamError when it is refused, and with the code
   *   "connection_lost" when nobody knows whether it was carried out.
   */
  async send(method, params = {}) {
    const command = { id: ++this.#lastId, method, params };
    const answer = this.#socket ? await this.#ask(command) : await this.#post("commands", command);
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
      const final = FINAL.has(error.code);
      if (closing.aborted || final) {
        this.#tell("closed", final ? { error } : {});
        return final ? error : undefined;
      }
      this.#tell("waiting", { error });
      await pause(Math.random() * Math.min(LONG_PAUSE, SHORT_PAUSE * 2 ** this.#failures++), closing);
    }
  }

  /** Deliver events over one connection. Always throws: why it ended. */
  async #follow() {
    const watch = new Watch(this.#options.patience, () => this.#socket && this.#ping());
    const signal = AbortSignal.any([this.#closing.signal, watch.signal]);
    const alive = () => {
      this.#failures = 0;
      watch.restart();
    };
    try {
      const socket = this.#WebSocket && (await this.#openSocket(signal));
      if (socket) await this.#readSocket(socket, signal, alive);
      watch.restart();
      await this.#readSse(signal, alive);
    } finally {
      watch.stop();
    }
  }

  /** An open socket, or null when none can be had: then a request says why, or takes its place. */
  async #openSocket(signal) {
    const { base, threadId } = this.#options;
    const url = new URL(`${base}/threads/${threadId}/stream/events`, globalThis.location?.href);
    url.protocol = url.protocol.replace("http", "ws");
    try {
      const { ticket } = await this.#request(`${base.replace(/\/api$/, "")}/api/v1/auth/ws-ticket`, {}, signal).then(json);
      url.searchParams.set("ticket", ticket);
    } catch (error) {
      if (error.code === 401 || error.code === 403) throw error;
      return null;
    }
    const socket = new this.#WebSocket(url);
    const opened = await new Promise((resolve) => {
      socket.onopen = () => resolve(true);
      socket.onclose = socket.onerror = () => resolve(false);
      signal.addEventListener("abort", () => resolve(false), { once: true });
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
      for (const { reject } of this.#pending.values()) reject(new StreamError("The socket was lost.", "connection_lost"));
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
      const frames = (rest + value).split(/\r?\n\r?\n/);
      rest = frames.pop();
      for (const frame of frames) {
        const data = frame.match(/^data: ?(.*)$/m);
        if (data) this.#deliver(JSON.parse(data[1]));
      }
    }
  }

  #deliver(event) {
    if (this.#closing.signal.aborted || this.#ids.has(event.event_id)) return;
    if (event.seq !== this.cursor) this.#ids.clear();
    this.cursor = event.seq;
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

  /** Pages do not see the server's pings. Any answer shows that it is there, and this one is the cheapest. */
  #ping() {
    this.#ask({ id: ++this.#lastId, method: "ping", params: {} }).catch(() => {});
  }

  #ask(command) {
    return new Promise((resolve, reject) => {
      this.#pending.set(command.id, { resolve, reject });
      this.#socket.send(JSON.stringify(command));
    });
  }

  async #post(name, body) {
    return json(await this.#request(this.#path(name), body, this.#closing.signal));
  }

  #path(name) {
    return `${this.#options.base}/threads/${this.#options.threadId}/${name}`;
  }

  async #request(url, body, signal) {
    const { key, headers, credentials } = this.#options;
    const response = await this.#fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...(key && { "X-Api-Key": key }), ...headers?.() },
      body: JSON.stringify(body),
      credentials,
      signal,
    });
    if (response.ok) return response;
    const problem = await json(response).catch(() => ({}));
    throw new StreamError(problem.detail ?? problem.message ?? response.statusText, response.status);
  }
}

/** Aborts its signal after `patience` milliseconds without `restart()`; at half time it asks for a sign of life. */
class Watch {
  #controller = new AbortController();
  #timer;

  constructor(patience, ask) {
    this.restart = () => {
      this.stop();
      this.#timer = setTimeout(() => {
        ask();
        this.#timer = setTimeout(() => this.#controller.abort(new StreamError("Nothing came for too long.", "silent")), patience / 2);
      }, patience / 2);
    };
    this.restart();
  }

  get signal() {
    return this.#controller.signal;
  }

  stop() {
    clearTimeout(this.#timer);
  }
}

/** Call the caller's function. What it throws is its own: it is reported as uncaught, and the stream goes on. */
function report(callback, ...args) {
  try {
    callback?.(...args);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

const json = (response) => response.json();
