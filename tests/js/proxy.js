// A proxy on the way to a server that breaks connections.
import { connect, createServer } from "node:net";

/**
 * Relay to the server at `url`.
 *
 * @param {string} url
 * @param {object} [options]
 * @param {() => number} [options.allow] for each connection: how many bytes of the server's come through before it is
 *   broken
 * @param {(head: string) => boolean} [options.refuse] which requests that begin a connection are answered with 403
 * @param {(head: string) => boolean} [options.mute] of which connections nothing of the server's comes through after its
 *   first words
 * @returns {Promise<{url: string, cuts: number, cut: () => void, close: () => void}>}
 */
export async function openProxy(url, { allow = () => Infinity, refuse = () => false, mute = () => false } = {}) {
  const { hostname, port } = new URL(url);
  const sockets = new Set();
  const proxy = {
    cuts: 0,
    cut: () => sockets.forEach((socket) => socket.resetAndDestroy()),
    close: () => (server.close(), proxy.cut()),
  };

  function relay(client, head) {
    let left = allow();
    const muted = mute(head.toString("latin1"));
    const there = connect(port, hostname, () => there.write(head));
    for (const [one, other] of [[client, there], [there, client]]) {
      sockets.add(one);
      one.on("error", () => other.destroy()).on("close", () => (sockets.delete(one), other.destroy()));
    }
    client.on("data", (bytes) => there.write(bytes));
    let words = 0;
    there.on("data", (bytes) => {
      if (muted && words++) return;
      if (bytes.length < left) {
        left -= bytes.length;
        client.write(bytes);
      } else if (left >= 0) {
        proxy.cuts += 1;
        const last = bytes.subarray(0, left);
        left = -1;
        client.write(last, () => client.resetAndDestroy());
      }
    });
  }

  const server = createServer((client) => {
    client.once("error", () => {});
    client.once("data", (head) => {
      if (refuse(head.toString("latin1"))) client.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
      else relay(client, head);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  proxy.url = `http://127.0.0.1:${server.address().port}`;
  return proxy;
}

/** Seeded numbers from 0 to below 1, so that what a test did can be done again. */
export function chances(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
