"""REST and WebSocket: parse, authorise, call, render. No decisions."""
