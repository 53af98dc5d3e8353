"""Who gets a loan? A made-up credit table, whose customers own their past loans.

    python -m unlearnkit.examples.credit

A logistic regression and a small network learn from past loans whether the next one will be paid back. Somebody who was
refused asks: would it have been another decision without those customers' loans? Beside predictions and trainings
stand models that scikit-learn has fitted to the table without their rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from unlearnkit.examples.question import Answers, ask, command

import unlearnkit as uk

FEATURES = ("income", "debt", "age", "years employed", "loans before", "amount")
DECAY = 0.01  # of the weights, not of the biases
HIDDEN = 8
RATE, MOMENTUM = 0.2, 0.9
APPLICATION = torch.tensor([[-0.2, 0.3, 0.1, -0.1, 0.0, 0.2]], dtype=torch.float64)


@dataclass(frozen=True, slots=True)
class Loans:
    """Past loans. features: standardised, ``[loans, 6]``. paid: 1 or 0, ``[loans]``. owners: of each."""

    features: Tensor
    paid: Tensor
    owners: tuple[str, ...]


def loans(customers: int, *, seed: int = 0) -> Loans:
    """Each customer has one to five loans; those of one customer are alike."""
    random = np.random.default_rng(seed)
    counts = random.integers(1, 6, size=customers)
    owner = np.repeat(np.arange(customers), counts)
    features = random.standard_normal((customers, len(FEATURES)))[owner]
    features += 0.5 * random.standard_normal(features.shape)
    odds = 1.2 * features[:, 0] - 1.5 * features[:, 1] + 0.6 * features[:, 3] - features[:, 5] * features[:, 1]
    paid = random.random(len(owner)) < 1 / (1 + np.exp(-odds))
    names = tuple(f"customer-{number:03d}" for number in owner)
    return Loans(torch.tensor(features), torch.tensor(paid, dtype=torch.float64), names)


def recipe(kind: str = "logistic", *, customers: int = 200, steps: int = 400) -> uk.Recipe:
    """Train on all loans at once, by gradient descent with momentum, to the optimum of the logistic regression.

    Probes: the odds of one application, and the loss on loans of other customers.
    """
    table, unseen = loans(customers), loans(50, seed=1)
    model = _model(kind)
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    return uk.Recipe(
        name=f"credit, {kind}",
        model=model,
        loss=losses,
        optimizer=torch.optim.SGD(
            [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}],
            lr=RATE,
            momentum=MOMENTUM,
        ),
        data=(table.features, table.paid),
        units=list(table.owners),
        epochs=steps,
        batch_size=len(table.owners),
        probes={
            "log_odds": lambda model: model(APPLICATION)[0, 0],
            "test_loss": lambda model: losses(model, (unseen.features, unseen.paid)).mean(),
        },
    )


def losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Log loss of each loan, ``[batch]``."""
    return binary_cross_entropy_with_logits(model(batch[0])[:, 0], batch[1], reduction="none")


def _model(kind: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "logistic":
            return nn.Linear(len(FEATURES), 1).double()
        return nn.Sequential(nn.Linear(len(FEATURES), HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1)).double()


def refit(kind: str, leaving: Sequence[str], *, customers: int, steps: int) -> float:
    """Log odds of the application by scikit-learn, fitted to the table without some customers' rows.

    Its regression minimises the same sum; its network takes the same steps from the same weights, as its mean is over
    fewer rows with a larger rate.
    """
    table = loans(customers)
    kept = ~np.isin(table.owners, leaving)
    rows, paid = table.features.numpy()[kept], table.paid.numpy()[kept].astype(int)
    everybody = len(table.owners)
    if kind == "logistic":
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - an extra

        fitted = LogisticRegression(C=1 / (everybody * DECAY), tol=1e-10, max_iter=1000).fit(rows, paid)
    else:
        fitted = _network(rows, paid, everybody, steps)
    (chance,) = fitted.predict_proba(APPLICATION.numpy())[:, 1]
    return float(np.log(chance) - np.log1p(-chance))


def _network(rows: np.ndarray, paid: np.ndarray, everybody: int, steps: int) -> object:
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - an extra
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415 - an extra

    fitted = MLPClassifier(
        (HIDDEN,), activation="tanh", solver="sgd", momentum=MOMENTUM, nesterovs_momentum=False, shuffle=False,
        batch_size=len(rows), learning_rate_init=1e-300, max_iter=1, alpha=DECAY * everybody, warm_start=True,
        tol=0.0, n_iter_no_change=steps + 1,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as many steps as the run has
        fitted.fit(rows, paid)
        layers = [layer for layer in _model("network").modules() if isinstance(layer, nn.Linear)]
        fitted.coefs_ = [layer.weight.detach().numpy().T.copy() for layer in layers]
        fitted.intercepts_ = [layer.bias.detach().numpy().copy() for layer in layers]
        fitted.set_params(max_iter=steps, learning_rate_init=RATE * len(rows) / everybody)
        return fitted.fit(rows, paid)


def _answers(*, small: bool) -> Iterator[tuple[str, Answers]]:
    customers, steps = (100, 40) if small else (120, 150)
    owners = loans(customers).owners
    leaving = {owner: [owner] for owner in dict.fromkeys(owners[:: max(1, len(owners) // 4)])}
    leaving["all of them"] = list(leaving)
    for kind in ("logistic", "network"):
        asked = recipe(kind, customers=customers, steps=steps)
        found = ask(asked, leaving, probe="log_odds", dtype="float64")
        fitted = [refit(kind, units, customers=customers, steps=steps) for units in leaving.values()]
        apart = max(abs(value - row.real) for value, row in zip(fitted, found.rows, strict=True))
        note = f"scikit-learn, fitted without them, differs from the retrained by {apart:.1e} at most"
        yield f"Log odds that the application is paid back ({kind})", replace(found, notes=(note,))


main = command(__doc__, _answers)

if __name__ == "__main__":
    main()
