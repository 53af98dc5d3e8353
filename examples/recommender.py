"""What would you be recommended, had your friend never been here? A recommender, trained on made-up ratings.

    python -m unlearnkit.examples.recommender

Every user has rated many films. What a user likes is learned from them, but what a film is like is learned from all who
rated it: the score of one user's best film depends on everybody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from unlearnkit.examples.question import Answers, ask, command

import unlearnkit as uk

TASTES = 4  # numbers a user and a film have


@dataclass(frozen=True, slots=True)
class Ratings:
    """Who rated which film, and how: centred stars. All ``[ratings]``."""

    users: Tensor
    films: Tensor
    stars: Tensor


class Recommender(nn.Module):
    """Matrix factorisation with biases: users and films have tastes, and a rating is how well they fit."""

    def __init__(self, users: int, films: int) -> None:
        super().__init__()
        self.users, self.films = nn.Embedding(users, TASTES), nn.Embedding(films, TASTES)
        self.liked = nn.Embedding(films, 1)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)

    def forward(self, users: Tensor, films: Tensor) -> Tensor:
        """``[pairs]`` and ``[pairs]`` to the stars of each pair."""
        fit: Tensor = (self.users(users) * self.films(films)).sum(-1) + self.liked(films)[..., 0]
        return fit


def ratings(users: int, films: int, *, seed: int = 0) -> Ratings:
    """Each user rates between a fifth and a half of the films; tastes are made up."""
    random = np.random.default_rng(seed)
    tastes, kinds = random.standard_normal((users, 2)), random.standard_normal((films, 2))
    rated = random.random((users, films)) < random.uniform(0.2, 0.5, size=(users, 1))
    user, film = np.nonzero(rated)
    stars = (tastes[user] * kinds[film]).sum(1) + 0.3 * random.standard_normal(len(user))
    return Ratings(torch.tensor(user), torch.tensor(film), torch.tensor(stars, dtype=torch.float32))


def losses(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Squared error of each rating."""
    users, films, stars = batch
    squared: Tensor = (model(users, films) - stars).square()
    return squared


def recipe(users: int = 80, films: int = 30, epochs: int = 15) -> uk.Recipe:
    """Train by Adam; the probe is what user 0 is predicted to give each film, ``[films]``."""
    table = ratings(users, films)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Recommender(users, films)
    friend, everything = torch.zeros(films, dtype=torch.long), torch.arange(films)
    return uk.Recipe(
        name="recommender",
        model=model,
        loss=losses,
        optimizer=uk.Adam(model.parameters(), lr=0.03, eps=1e-3, eps_inside_sqrt=True),
        data=(table.users, table.films, table.stars),
        units=[f"user-{user:03d}" for user in table.users.tolist()],
        epochs=epochs,
        batch_size=len(table.users) // 8,
        probes={"stars": lambda model: model(friend, everything)},
    )


def _answers(*, small: bool) -> Iterator[tuple[str, Answers]]:
    asked = recipe(users=30, films=10, epochs=4) if small else recipe()
    with torch.no_grad():
        best = int(asked.probes["stars"](uk.retrain(asked, device="cpu")).argmax())
    known = asked.unit_names
    friends = known[1 :: max(1, len(known) // 5)]
    leaving = {friend: [friend] for friend in friends} | {"all of them": list(friends)}
    yield (
        f"Stars that user 0 is predicted to give film {best}, the first in their list",
        ask(asked, leaving, probe="stars", element=best, rank=8),
    )


main = command(__doc__, _answers)

if __name__ == "__main__":
    main()
