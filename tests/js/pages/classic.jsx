// `useStream` of @langchain/langgraph-sdk: the classic streams.
import { useStream } from "@langchain/langgraph-sdk/react";
import { Chat, config, show, useOptions } from "./chat.jsx";

function Page() {
  const stream = useStream({ ...useOptions(), reconnectOnMount: true, fetchStateHistory: true });
  const { messages, interrupt, isLoading, error } = stream;
  const toolCalls = stream.toolCalls.map(({ call, state }) => ({ name: call.name, status: state }));
  const say = (text) => ({ messages: [{ type: "human", content: text }] });
  const metadataOf = (message) => ({ ...stream.getMessagesMetadata(message), onBranch: stream.setBranch });
  return (
    <Chat
      {...{ messages, toolCalls, interrupt, isLoading, error, metadataOf }}
      send={(text) => stream.submit(say(text), { config })}
      stop={() => stream.stop()}
      answer={(text) => stream.submit(undefined, { config, command: { resume: text } })}
      edit={(message, text) => {
        const checkpoint = stream.getMessagesMetadata(message)?.firstSeenState?.parent_checkpoint;
        stream.submit(say(text), { config, checkpoint });
      }}
    />
  );
}

show(<Page />);
