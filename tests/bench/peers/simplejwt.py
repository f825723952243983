# The server that the guides of djangorestframework-simplejwt tell how to write: Django REST framework, access tokens by
# HS256, refresh tokens rotated and the used ones on the blacklist, in SQLite. No revocation of access tokens, no limits.
#
#   python simplejwt.py stateless|database DATABASE
#
# "stateless" takes the user from the token, "database" reads it at each request, which is the default of simplejwt. Paths are
# those of Gatekey, so that the same clients can ask. Waitress serves it: one process, threads, connections that are kept.

import logging
import secrets
import sys
from datetime import timedelta

import django
from django.conf import settings

kind, database = sys.argv[1:]

settings.configure(
    SECRET_KEY=secrets.token_hex(32),
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    # The one of Django's that a minimal API needs: it tells the length of an answer, so that connections are kept.
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework_simplejwt.token_blacklist",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": database,
            "CONN_MAX_AGE": None,
            # As durable as Gatekey is by default.
            "OPTIONS": {
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
                "transaction_mode": "IMMEDIATE",
                "timeout": 60,
            },
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
        "DEFAULT_AUTHENTICATION_CLASSES": [
            "rest_framework_simplejwt.authentication."
            + ("JWTStatelessUserAuthentication" if kind == "stateless" else "JWTAuthentication")
        ],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    },
    SIMPLE_JWT={
        "ACCESS_TOKEN_LIFETIME": timedelta(hours=24),
        "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
        "ROTATE_REFRESH_TOKENS": True,
        "BLACKLIST_AFTER_ROTATION": True,
        "ISSUER": "https://auth.test",
        "AUDIENCE": "https://auth.test",
    },
    LOGGING_CONFIG=None,
)
django.setup()
logging.disable(logging.CRITICAL)

import waitress  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402
from rest_framework_simplejwt.exceptions import InvalidToken, TokenError  # noqa: E402
from rest_framework_simplejwt.serializers import TokenRefreshSerializer  # noqa: E402
from rest_framework_simplejwt.tokens import RefreshToken  # noqa: E402


def answer(access, refresh):
    return Response(
        {"access_token": str(access), "token_type": "Bearer", "expires_in": 900, "refresh_token": str(refresh)}
    )


class Mine(APIView):
    def get(self, request):
        return HttpResponse(f"hello {request.user.username}")


class Open(APIView):
    authentication_classes = []
    permission_classes = []


class LogIn(Open):
    # No password is asked for: logins are not measured here.
    def post(self, request):
        refresh = RefreshToken.for_user(User.objects.get(username=request.data["username"]))
        refresh["username"] = "alice"
        return answer(refresh.access_token, refresh)


class Refresh(Open):
    def post(self, request):
        swapped = TokenRefreshSerializer(data={"refresh": request.data["refresh_token"]})
        try:
            swapped.is_valid(raise_exception=True)
        except TokenError as error:
            raise InvalidToken(str(error)) from error
        return answer(swapped.validated_data["access"], swapped.validated_data["refresh"])


urlpatterns = [
    path("mine", Mine.as_view()),
    path("auth/login", LogIn.as_view()),
    path("auth/token", Refresh.as_view()),
]

call_command("migrate", verbosity=0)
if not User.objects.exists():
    User.objects.create(username="alice")

server = waitress.create_server(WSGIHandler(), host="127.0.0.1", port=0, threads=4, connection_limit=1000)
print(f"ready http://127.0.0.1:{server.effective_port}", flush=True)
server.run()
