"""An HTTP service over a saved model (extra `serve`): `bin/serve.py MODEL`, or `app.create_app` under any ASGI server."""
