"""What the pages say, in each language. A missing sentence is a type error, and nothing has to be compiled."""

from dataclasses import dataclass

from django.utils.translation import get_language


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPageText:
    tagline: str
    running: str
    version: str
    key_title: str
    key_body: str
    key_note: str
    sdk_title: str
    sdk_body: str
    python: str
    javascript: str
    greeting: str
    graphs_title: str
    graphs_body: str
    graph_broken: str
    graphs_none: str
    more_title: str
    docs: str
    docs_body: str
    admin: str
    admin_body: str
    schema: str
    schema_body: str


ENGLISH = FrontPageText(
    tagline="An agent server. It runs LangGraph graphs for many users, streams what they do, "
    "and keeps every conversation.",
    running="Running",
    version="Version",
    key_title="Make a key",
    key_body="Run this where the server is installed. It makes the user and the organization if they are missing, "
    "and prints the key.",
    key_note="The key is shown this one time: the server keeps only its hash.",
    sdk_title="Call a graph",
    sdk_body="The LangGraph SDKs work as they are. Only the address and the key are yours.",
    python="Python",
    javascript="JavaScript",
    greeting="Hello!",
    graphs_title="Graphs served here",
    graphs_body="Name your own in a langgraph.json, and the file in LANGGRAPH_CONFIG.",
    graph_broken="cannot run; the server's log says why",
    graphs_none="None yet. They appear here when the server has read its configuration.",
    more_title="Look further",
    docs="API reference",
    docs_body="Every address, to read and to try.",
    admin="Administration",
    admin_body="Users, organizations, keys and runs.",
    schema="OpenAPI",
    schema_body="The same description for programs.",
)

SIMPLIFIED_CHINESE = FrontPageText(
    tagline="智能体服务器：为众多用户运行 LangGraph 图，实时传送每一步，并保存每一次对话。",
    running="运行中",
    version="版本",
    key_title="创建密钥",
    key_body="在安装了本服务器的机器上运行这条命令。如果用户和组织还不存在，它会一并创建，然后打印出密钥。",
    key_note="密钥只显示这一次：服务器只保存它的哈希值。",
    sdk_title="调用一个图",
    sdk_body="LangGraph 的官方 SDK 无需修改即可使用，只有地址和密钥是你自己的。",
    python="Python",
    javascript="JavaScript",
    greeting="你好！",
    graphs_title="这里提供的图",
    graphs_body="在 langgraph.json 里写上你自己的图，并用 LANGGRAPH_CONFIG 指出这个文件。",
    graph_broken="无法运行，原因见服务器日志",
    graphs_none="还没有。服务器读完配置后，图会出现在这里。",
    more_title="继续了解",
    docs="API 参考",
    docs_body="全部接口，可以阅读，也可以试用。",
    admin="管理后台",
    admin_body="用户、组织、密钥和运行。",
    schema="OpenAPI",
    schema_body="同一份说明，供程序读取。",
)


def front_page_text() -> FrontPageText:
    """The front page's sentences in the language of this request."""
    return SIMPLIFIED_CHINESE if get_language() == "zh-hans" else ENGLISH
