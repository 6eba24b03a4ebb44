// `useStream` of @langchain/react: the Agent Streaming Protocol.
import { useStream } from "@langchain/react";
import { Chat, config, show, useOptions } from "./chat.jsx";

const say = (text) => ({ messages: [{ type: "human", content: text }] });

/** The checkpoint before a message: what the hook knows of it itself is true of the newest messages only. */
async function before(stream, message) {
  const states = await stream.client.threads.getHistory(stream.threadId);
  const first = states.findLast(({ values }) => values.messages.some(({ id }) => id === message.id));
  return first.parent_checkpoint.checkpoint_id;
}

function Page() {
  const stream = useStream(useOptions());
  const { messages, toolCalls, interrupt, isLoading, error } = stream;
  return (
    <Chat
      {...{ messages, toolCalls, interrupt, isLoading, error }}
      send={(text) => stream.submit(say(text), { config })}
      stop={() => stream.stop()}
      answer={(text) => stream.respond(text)}
      edit={async (message, text) => stream.submit(say(text), { config, forkFrom: await before(stream, message) })}
    />
  );
}

show(<Page />);
