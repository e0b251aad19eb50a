"""`POST /admin/reload`: swap model and index under load."""

from fastapi import APIRouter, Response

from service.answers import ReloadResponse
from service.release import Releases
from service.routes import READ_ERRORS, documented, json_response


def admin_routes(releases: Releases) -> APIRouter:
    """Make the router of the operators' commands."""
    router = APIRouter(prefix="/admin", tags=["operations"])

    @router.post("/reload", response_model=ReloadResponse, responses=documented(409, *READ_ERRORS))
    async def reload() -> Response:
        """Serve the bundle and the index generations that the configured paths hold now; running requests finish."""
        return json_response((await releases.reload())._asdict())

    return router
