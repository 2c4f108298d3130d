"""An HTTP service over a saved model (extra `serve`): `easrec serve MODEL`, or `app.create_app` under any ASGI server."""
