"""Tools, for users: functions that a model may ask to call, and functions that run the calls."""

from mellea_rx.core.types.tool import Tool, ToolResult
from mellea_rx.stdlib.tools.decorator import tool
from mellea_rx.stdlib.tools.tool_calls import acall_tools, call_tools, run_calls

__all__ = ["Tool", "ToolResult", "acall_tools", "call_tools", "run_calls", "tool"]
