"""The gateway as an ASGI application."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bcai.base.errors import BcaiError, FormatError
from bcai.cluster.gateway import openapi
from bcai.cluster.gateway.edge import Edge
from bcai.cluster.gateway.problems import (
    error_response,
    problem_response,
    status_response,
    validation_problem,
)
from bcai.cluster.gateway.routes import (
    audits,
    blobs,
    client_socket,
    disputes,
    events,
    health,
    jobs,
    keys,
    logs,
    node_socket,
    nodes,
    results,
)
from bcai.cluster.gateway.services import Services

_ROUTES = (
    health,
    jobs,
    results,
    logs,
    events,
    nodes,
    blobs,
    audits,
    disputes,
    keys,
    client_socket,
    node_socket,
)


def create_app(services: Services) -> FastAPI:
    """Build the application. There is no `/docs`: it would need somebody else's servers."""
    app = FastAPI(
        **openapi.INFO,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.services = services
    app.add_middleware(Edge)
    app.add_exception_handler(BcaiError, _handler(_on_error))
    app.add_exception_handler(RequestValidationError, _handler(_on_invalid))
    app.add_exception_handler(HTTPException, _handler(_on_status))
    for module in _ROUTES:
        app.include_router(module.router)
    openapi.install(app)
    return app


def _operation_id(route: APIRoute) -> str:
    """Name an operation after its function: `submit_job`."""
    return route.name


def _handler(function: Callable[..., Awaitable[Response]]) -> Any:
    """Fit a handler of one error class to the framework's wider type."""
    return function


async def _on_error(_: Request, error: BcaiError) -> Response:
    return error_response(error)


async def _on_invalid(request: Request, error: RequestValidationError) -> Response:
    return problem_response(validation_problem(request, error))


async def _on_status(request: Request, error: HTTPException) -> Response:
    """Translate what the framework itself refuses: no such path, method, or a broken body."""
    cause = error.__cause__
    if isinstance(cause, BcaiError):
        return error_response(cause)
    if error.status_code == 400:
        return error_response(FormatError("the request's body cannot be read as JSON"))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request.url.path))
    detail = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return status_response(error.status_code, detail, headers)


def _methods(path: str) -> list[str]:
    """All methods that a path knows."""
    routes = [route for module in _ROUTES for route in module.router.routes]
    fitting = [
        route for route in routes if isinstance(route, APIRoute) and route.path_regex.match(path)
    ]
    # `/v1/jobs/{job_id}:cancel` fits `/v1/jobs/{job_id}` too: the longer template is meant.
    longest = max((len(route.path) for route in fitting), default=0)
    return sorted(
        {
            method
            for route in fitting
            if len(route.path) == longest
            for method in route.methods or ()
        }
    )
