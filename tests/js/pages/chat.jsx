// What both pages show, and the address that says what they talk to: ?page&url&key&assistant&thread&config.
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const address = new URLSearchParams(location.search);

export const config = { configurable: JSON.parse(address.get("config") ?? "{}") };

/** What the hooks are told. A reload opens the same thread. */
export function useOptions() {
  const [threadId, setThreadId] = useState(address.get("thread"));
  const onThreadId = (id) => {
    setThreadId(id);
    address.set("thread", id);
    history.replaceState(null, "", `?${address}`);
  };
  const [apiUrl, apiKey, assistantId] = ["url", "key", "assistant"].map((name) => address.get(name));
  return { apiUrl, apiKey, assistantId, threadId, onThreadId };
}

/** Every state of the page that was on the screen, for the test to look at. */
window.shown = [];

function textOf(message) {
  if (typeof message.content === "string") return message.content;
  return message.content.map((block) => block.text ?? "").join("");
}

function Message({ message, metadata, onEdit }) {
  const { branch, branchOptions = [], onBranch } = metadata;
  return (
    <li data-type={message.type}>
      <p>{textOf(message)}</p>
      {onEdit && <button onClick={onEdit}>edit</button>}
      {branchOptions.map((option) => (
        <button key={option} disabled={option === branch} onClick={() => onBranch(option)}>
          branch
        </button>
      ))}
    </li>
  );
}

/**
 * A chat. `metadataOf(message)` may have the branches that begin with it; `edit(message, text)` puts another message
 * in its place.
 */
export function Chat({ messages, toolCalls, interrupt, isLoading, error, send, stop, answer, edit, metadataOf }) {
  const [text, setText] = useState("");
  const [edited, setEdited] = useState(null);
  const tools = toolCalls.map(({ name, status }) => `${name}: ${status}`);
  useEffect(() => {
    window.shown.push({ texts: messages.map(textOf), tools, isLoading });
  });
  const submit = () => {
    if (edited) edit(edited, text);
    else if (interrupt) answer(text);
    else send(text);
    setText("");
    setEdited(null);
  };
  return (
    <>
      <ol>
        {messages.map((message) => (
          <Message
            key={message.id}
            message={message}
            metadata={metadataOf?.(message) ?? {}}
            onEdit={message.type === "human" ? () => setEdited(message) : null}
          />
        ))}
      </ol>
      <ul>{tools.map((tool) => <li key={tool}>{tool}</li>)}</ul>
      {interrupt && <p id="question">{interrupt.value.question}</p>}
      {error && <p id="error">{String(error)}</p>}
      <p id="state">{isLoading ? "running" : "idle"}</p>
      <input value={text} onChange={(event) => setText(event.target.value)} />
      <button onClick={submit}>send</button>
      <button onClick={stop}>stop</button>
    </>
  );
}

export function show(page) {
  createRoot(document.getElementById("root")).render(page);
}
