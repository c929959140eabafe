//! Whose account it is, for accounts that came without an address (imports, the environment).

use crate::credentials::oauth::userinfo;
use crate::credentials::refresh::LiveAccount;

impl LiveAccount {
    /// Asks the provider for the account's email address; `None` if it does not say, or not now.
    pub async fn whose(&self) -> Option<String> {
        let (token, http) = {
            let state = self.lock();
            (state.account.access_token.clone()?, state.http.clone())
        };
        let told = userinfo::name_behind(&self.client, &token, &http).await;
        // Without an address the account serves as well.
        told.ok().flatten().filter(|name| name.contains('@'))
    }
}
