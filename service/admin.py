"""`POST /admin/reload`: swap model and index under load."""

from fastapi import APIRouter, Response

from service.release import Releases
from service.routes import documented, json_response
from service.schemas import ReloadResponse


def admin_routes(releases: Releases) -> APIRouter:
    """Make the router of the operators' commands."""
    router = APIRouter(prefix="/admin", tags=["operations"])

    @router.post("/reload", response_model=ReloadResponse, responses=documented(401, 403, 409, 500))
    async def reload() -> Response:
        """Serve the bundle and the index generations that the configured paths hold now; running requests finish."""
        return json_response((await releases.reload())._asdict())

    return router
