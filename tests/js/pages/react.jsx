// `useStream` of @langchain/react: the Agent Streaming Protocol.
import { useMessageMetadata, useStream } from "@langchain/react";
import { Chat, config, show, useOptions } from "./chat.jsx";

function Page() {
  const stream = useStream(useOptions());
  const { messages, toolCalls, interrupt, isLoading, error } = stream;
  const first = useMessageMetadata(stream, messages.find((message) => message.type === "human")?.id);
  const last = useMessageMetadata(stream, messages.findLast((message) => message.type === "human")?.id);
  const parentOf = (message) => (message === messages[0] ? first : last)?.parentCheckpointId;
  const say = (text) => ({ messages: [{ type: "human", content: text }] });
  return (
    <Chat
      {...{ messages, toolCalls, interrupt, isLoading, error }}
      send={(text) => stream.submit(say(text), { config })}
      stop={() => stream.stop()}
      answer={(text) => stream.respond(text)}
      edit={(message, text) => stream.submit(say(text), { config, forkFrom: parentOf(message) })}
    />
  );
}

show(<Page />);
