// Runs scenarios that come as lines of JSON, `{scenario: "file.function", given}`, one after the other; answers each
// with a line, `{result}` or `{error}`. Standard output is for answers alone.
import { createInterface } from "node:readline";
import { inspect } from "node:util";
import WebSocket from "ws";

console.log = console.error;
// Node has it since 22.
globalThis.WebSocket ??= WebSocket;

let uncaught = [];
process.on("uncaughtException", (error) => uncaught.push(error));
process.on("unhandledRejection", (error) => uncaught.push(error));

/** What the scenario answers, unless it, or anything that it left alone, failed. */
async function run({ scenario, given }) {
  const [file, name] = scenario.split(".");
  const scenarios = await import(`./scenarios/${file}.js`);
  uncaught = [];
  const result = await scenarios[name](given);
  if (uncaught.length) throw uncaught[0];
  return { result: result ?? null };
}

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await run(JSON.parse(line)).catch((error) => ({ error: inspect(error, { depth: 4 }) }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
