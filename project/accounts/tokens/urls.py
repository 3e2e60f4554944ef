"""The addresses under /api/token/."""

from django.urls import path

from project.accounts.tokens import views

urlpatterns = [
    path("", views.TokenObtainPairView.as_view(), name="token_obtain_pair"),
    path("refresh/", views.TokenRefreshView.as_view(), name="token_refresh"),
    path("verify/", views.TokenVerifyView.as_view(), name="token_verify"),
    path("logout/", views.LogoutView.as_view(), name="token_logout"),
    path("logout-everywhere/", views.LogoutEverywhereView.as_view(), name="token_logout_everywhere"),
]
